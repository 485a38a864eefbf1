/**
 * A whole live update beside what one does without it: the same bytes, in the same rounds, copied,
 * written to a file on tmpfs and read back, serialised and back, and kept by Redis. Ours is
 * measured with everything, from preserve to the first byte read in the next process; the others
 * without the start of a program that all of them need too.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { MappedRam } from '@liveupdate/linux';
import { copyTarget, copyTo, throughFile, throughSerialize, timed } from './baselines.ts';
import { withEnds, type Ends } from './ends.ts';
import { Bare, Service } from './processes.ts';
import { Redis, redisVersion } from './redis.ts';
import { inTurn, type Rounds, type Trial } from './runner.ts';
import { fillBytes, type Workload } from './workload.ts';

/** Series of `alternatives`, for people. */
export const ALTERNATIVES = {
  bare: 'a bare memfd inherited by the next process, the limit',
  copy: 'copy to another mapping',
  tmpfs: 'tmpfs file written and read',
  serialize: 'v8.serialize to a tmpfs file and back',
  redis: 'Redis saved and reloaded',
} as const;

type Alternative = keyof typeof ALTERNATIVES;

/** What is measured in turns. */
type Sides = readonly (() => Promise<Record<string, number>>)[];

/** A directory on tmpfs that goes with what is in it, at the latest with this process. */
class Directory implements Disposable {
  readonly path = fs.mkdtempSync('/dev/shm/liveupdate-bench-');
  readonly #remove = (): void => {
    fs.rmSync(this.path, { recursive: true, force: true });
  };

  constructor() {
    process.once('exit', this.#remove);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#remove);
    this.#remove();
  }
}

/** A live update of a workload beside some alternatives; Redis is left out where there is none. */
export function alternatives(workload: Workload, against: readonly Alternative[]): Trial['prepare'] {
  return ({ size }) =>
    withEnds(async (ends): Promise<Rounds> => {
      const service = ends.use(await Service.start(workload, size));
      const sides = [() => service.replace(), ...(await otherSides(ends, service, size, against))];
      return { run: (round) => inTurn(sides, round), end: () => ends[Symbol.asyncDispose]() };
    });
}

async function otherSides(
  ends: Ends,
  service: Service,
  size: number,
  against: readonly Alternative[],
): Promise<Sides> {
  const { path } = ends.use(new Directory());
  const source = ends.use(MappedRam.anonymous({ name: 'liveupdate-bench-source', size }));
  const bytes = source.bytes(0, size);
  fillBytes(bytes);
  const file = join(path, 'file');
  const side = (name: Alternative, work: () => unknown) => async () => ({ [name]: await timed(work) });
  const make: Record<Alternative, () => Sides[number] | Promise<Sides[number]>> = {
    bare: () => {
      const bare = ends.use(new Bare(service.ram, { size, reads: false }));
      return () => bare.replace();
    },
    copy: () => {
      const target = ends.use(copyTarget(size));
      copyTo(target, bytes);
      return side('copy', () => {
        copyTo(target, bytes);
      });
    },
    tmpfs: () =>
      side('tmpfs', () => {
        throughFile(file, bytes);
      }),
    serialize: () =>
      side('serialize', () => {
        throughSerialize(file, bytes);
      }),
    redis: async () => {
      const redis = ends.use(await Redis.start(path, bytes));
      return side('redis', () => redis.saveAndReload());
    },
  };
  const sides: Sides[number][] = [];
  for (const name of against)
    if (name !== 'redis' || redisVersion() !== undefined) sides.push(await make[name]());
  return sides;
}
