/**
 * A whole live update beside what one does without it, in the same rounds. Some keep the memory
 * where it is, as live update does, and are measured alike: from the end of serving to the first
 * byte that the next program reads. Others move all bytes, and are measured without the start of a
 * program that all of them need too.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { MappedRam } from '@liveupdate/linux';
import { copyTarget, copyTo, throughFile, throughSerialize, timed } from './baselines.ts';
import { Criu, missingCriu } from './criu.ts';
import { withEnds, type Ends } from './ends.ts';
import { Memcached, memcachedVersion } from './memcached.ts';
import { addingOurs, Bare, emptyProgram, Service } from './processes.ts';
import { NO_REDIS, Redis, redisVersion } from './redis.ts';
import { inTurn, type Rounds, type Trial } from './runner.ts';
import type { StoreKind } from './open-store.ts';
import { KeptStore } from './kept-store.ts';
import { TmpfsDirectory } from './tmpfs-directory.ts';
import { fillBytes, type Workload } from './workload.ts';

/** Series of `alternatives` and `kept`, for people. */
export const ALTERNATIVES = {
  bare: 'the same memory inherited by exec, nothing of ours: the limit',
  mapped: 'tmpfs file, mapped again by the next program',
  lmdb: 'LMDB on tmpfs, opened again by the next program',
  sqlite: 'SQLite on tmpfs (better-sqlite3), opened again by the next program',
  memcached: 'memcached -e restarted',
  criu: 'CRIU dump and restore',
  copy: 'copy to another mapping, without a new program',
  tmpfs: 'tmpfs file written and read, without a new program',
  serialize: 'v8.serialize to a tmpfs file and back, without a new program',
  redis: 'Redis saved and reloaded',
} as const;

export type Alternative = keyof typeof ALTERNATIVES;

/** What is measured in turns. */
type Side = () => Promise<Record<string, number>>;

/** Why an alternative cannot be had here, and what would bring it; undefined where it can. */
export function missingAlternative(name: Alternative): string | undefined {
  switch (name) {
    case 'redis':
      return redisVersion() === undefined ? NO_REDIS : undefined;
    case 'memcached':
      return memcachedVersion() === undefined
        ? 'memcached is not installed; on Debian: apt-get install memcached'
        : undefined;
    case 'criu':
      return missingCriu();
    case 'lmdb':
      return unloadable('lmdb');
    case 'sqlite':
      return unloadable('better-sqlite3');
    default:
      return undefined;
  }
}

/** A package with native code may have none for this machine. */
function unloadable(name: string): string | undefined {
  try {
    createRequire(import.meta.url)(name);
    return undefined;
  } catch (error) {
    return `the npm package ${name} does not load here: ${(error as Error).message.split('\n')[0]}`;
  }
}

/** A live update of a workload beside some alternatives, an empty program among them. */
export function alternatives(workload: Workload, against: readonly Alternative[]): Trial['prepare'] {
  return ({ size }) =>
    withEnds(async (ends): Promise<Rounds> => {
      const service = ends.use(await Service.start(workload, size));
      const sides: Side[] = [() => service.replace(), emptyProgram];
      const absent: Record<string, string> = {};
      const make = alternativeSides(ends, service, size);
      for (const name of against) {
        const made = missingAlternative(name) ?? (await make[name]());
        if (typeof made === 'string') absent[name] = made;
        else sides.push(made);
      }
      const withOurs = addingOurs();
      return {
        absent,
        run: async (round) => withOurs(await inTurn(sides, round)),
        end: () => ends[Symbol.asyncDispose](),
      };
    });
}

/** How each side is set up; instead of one, why it cannot be. */
function alternativeSides(
  ends: Ends,
  service: Service,
  size: number,
): Record<Alternative, () => Side | Promise<Side | string>> {
  const { path } = ends.use(new TmpfsDirectory());
  const file = join(path, 'file');
  let filled: Uint8Array | undefined;
  /** Bytes to move, made when somebody wants them. */
  const bytes = (): Uint8Array => {
    if (filled) return filled;
    const source = ends.use(MappedRam.anonymous({ name: 'liveupdate-bench-source', size }));
    filled = source.bytes(0, size);
    fillBytes(filled);
    return filled;
  };
  const side =
    (name: Alternative, work: () => unknown): Side =>
    async () => ({ [name]: await timed(work) });
  const store = (kind: StoreKind) => async (): Promise<Side> => {
    const kept = ends.use(await KeptStore.start(kind, path, size));
    return async () => ({ [kind]: await kept.replace() });
  };
  return {
    bare: () => {
      const bare = ends.use(new Bare(service.ram, { size, reads: false }));
      return () => bare.replace();
    },
    mapped: store('mapped'),
    lmdb: store('lmdb'),
    sqlite: store('sqlite'),
    memcached: async () => {
      const memcached = ends.use(await Memcached.start(path, bytes()));
      return async () => ({ memcached: await memcached.restart() });
    },
    criu: async () => {
      try {
        const criu = ends.use(await Criu.start(path, size));
        return side('criu', () => criu.dumpAndRestore());
      } catch (error) {
        return (error as Error).message; // not every kernel and program is to its liking
      }
    },
    copy: () => {
      const source = bytes();
      const target = ends.use(copyTarget(size));
      copyTo(target, source);
      return side('copy', () => {
        copyTo(target, source);
      });
    },
    tmpfs: () => {
      const source = bytes();
      return side('tmpfs', () => {
        throughFile(file, source);
      });
    },
    serialize: () => {
      const source = bytes();
      return side('serialize', () => {
        throughSerialize(file, source);
      });
    },
    redis: async () => {
      const redis = ends.use(await Redis.start(path, bytes()));
      return side('redis', () => redis.saveAndReload());
    },
  };
}
