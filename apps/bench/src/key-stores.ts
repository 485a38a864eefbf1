/**
 * Where somebody keeps values under keys: our map in a file of shared memory, a Map of the heap,
 * and stores of npm. Each does what it is asked for in the way that is the quickest for it.
 */
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { bootKernel } from '@liveupdate/kexec';
import { openMap } from '@liveupdate/map';
import { statusBytes } from './child-side.ts';
import { Ends } from './ends.ts';
import { collectGarbage } from './garbage.ts';
import type { KeyStore, KeyStoreName, Work } from './key-store.ts';
import { KEY_BYTES, mapFileSize, valueOf } from './keys.ts';
import { openRedisKeys } from './redis-keys.ts';
import { TmpfsDirectory } from './tmpfs-directory.ts';
import { HUGE, makeRam, SMALL, type Workload } from './workload.ts';

/** @param count keys that it shall have room for */
export function openKeyStore(name: KeyStoreName, count: number): KeyStore | Promise<KeyStore> {
  switch (name) {
    case 'ours':
      return openOurs(SMALL, count);
    case 'huge':
      return openOurs(HUGE, count);
    case 'heap':
      return openHeap();
    case 'lmdb':
      return openLmdb();
    case 'sqlite':
      return openSqlite();
    case 'redis':
      return openRedisKeys();
  }
}

const lengthOf = (value: Uint8Array): number => value[0] && value.length;

function openOurs(workload: Workload, count: number): KeyStore {
  const ends = new Ends();
  const size = mapFileSize(count);
  const ram = ends.use(makeRam(workload, size));
  const { shmem } = bootKernel(ram, undefined, { freeMemory: 'zero' });
  const file = shmem.memfdCreate('bench');
  if (workload === HUGE) file.adviseHuge();
  file.allocate(0, size);
  const mapping = ends.use(file.map());
  let map = openMap<'utf8', 'view'>(mapping, { valueEncoding: 'view' });
  const set: Work = (keys) => {
    for (let i = 0; i < keys.length; i++) map.set(keys[i], valueOf(i));
  };
  return {
    steps: {
      set,
      get: (keys) => {
        let sum = 0;
        for (const key of keys) sum += map.get(key)!.length;
        return sum;
      },
      text: (keys) => {
        map.close();
        let sum = 0;
        {
          using texts = openMap(mapping);
          for (const key of keys) sum += texts.get(key)!.length;
        }
        map = openMap(mapping, { valueEncoding: 'view' });
        return sum;
      },
      read: (keys) => {
        let sum = 0;
        for (const key of keys) sum += map.read(key, lengthOf)!;
        return sum;
      },
      overwrite: set,
      increment: (keys) => {
        for (const key of keys) map.increment(key, 1);
      },
      delete: (keys) => {
        for (const key of keys) map.delete(key);
      },
    },
    clear: () => {
      map.clear();
    },
    memory: () => map.stats.used,
    [Symbol.asyncDispose]: async () => {
      map.close();
      await ends[Symbol.asyncDispose]();
    },
  };
}

/** The system counts pages in batches: less than this cannot be told from none. */
const LEAST_MEMORY = 256 * 2 ** 10;

/** A Map of the heap: the limit. What goes in and what comes out are copies, as everywhere. */
function openHeap(): KeyStore {
  const map = new Map<string, Uint8Array>();
  const numbers = new Map<string, number>();
  const set: Work = (keys) => {
    for (let i = 0; i < keys.length; i++) map.set(keys[i], Buffer.from(valueOf(i)));
  };
  const resident = (): number => {
    collectGarbage();
    return statusBytes('RssAnon');
  };
  const before = resident();
  return {
    steps: {
      set,
      get: (keys) => {
        let sum = 0;
        for (const key of keys) sum += Buffer.from(map.get(key)!).length;
        return sum;
      },
      read: (keys) => {
        let sum = 0;
        for (const key of keys) sum += lengthOf(map.get(key)!);
        return sum;
      },
      overwrite: set,
      increment: (keys) => {
        for (const key of keys) numbers.set(key, (numbers.get(key) ?? 0) + 1);
      },
      delete: (keys) => {
        for (const key of keys) map.delete(key);
      },
    },
    clear: () => {
      map.clear();
      numbers.clear();
    },
    memory: () => Math.max(LEAST_MEMORY, resident() - before),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Loads a package of npm where it is wanted: each program needs one. */
function load(name: string): unknown {
  return createRequire(import.meta.url)(name);
}

/** Keys of a transaction, where it is as large as can be, and where it is small. */
const LARGE_BATCH = 1_000_000;
const SMALL_BATCH = 1000;

function eachBatch(keys: readonly string[], most: number, work: (from: number, to: number) => void): void {
  for (let from = 0; from < keys.length; from += most) work(from, Math.min(from + most, keys.length));
}

/** As much of the package `lmdb` as is used. */
interface Lmdb {
  readonly open: (options: object) => LmdbDatabase;
}
interface LmdbDatabase {
  get(key: Buffer): (Buffer & string) | undefined;
  getBinaryFast(key: Buffer): Buffer | undefined;
  put(key: Buffer, value: Buffer): Promise<boolean>;
  putSync(key: Buffer, value: Buffer): boolean;
  remove(key: Buffer): Promise<boolean>;
  transactionSync(work: () => unknown): void;
  clearSync(): void;
  getStats(): { pageSize: number; treeBranchPageCount: number; treeLeafPageCount: number };
  close(): Promise<void>;
}

/**
 * LMDB on tmpfs, without syncing. Keys are bytes, which it takes more quickly than texts, written
 * to where the last one was. Many at a time as its documentation has it: `put`, which a thread of
 * its own carries out in one transaction for all that come in a turn of the event loop.
 */
function openLmdb(): KeyStore {
  const ends = new Ends();
  const { path } = ends.use(new TmpfsDirectory());
  const { open } = load('lmdb') as Lmdb;
  const options = { path: join(path, 'lmdb'), noSync: true, keyEncoding: 'binary' };
  const database = open({ ...options, encoding: 'binary' });
  const texts = open({ ...options, encoding: 'string' });
  const bytes = Buffer.alloc(KEY_BYTES);
  const keyBytes = (key: string): Buffer => {
    bytes.write(key, 0, 'latin1');
    return bytes;
  };
  const set: Work = async (keys) => {
    for (let from = 0; from < keys.length; from += LARGE_BATCH) {
      const to = Math.min(from + LARGE_BATCH, keys.length);
      let last: unknown;
      for (let i = from; i < to; i++) last = database.put(keyBytes(keys[i]), valueOf(i));
      await last;
    }
  };
  const setBatch: Work = (keys) => {
    eachBatch(keys, SMALL_BATCH, (from, to) => {
      database.transactionSync(() => {
        for (let i = from; i < to; i++) database.putSync(keyBytes(keys[i]), valueOf(i));
      });
    });
  };
  const setOne: Work = (keys) => {
    for (let i = 0; i < keys.length; i++) database.putSync(keyBytes(keys[i]), valueOf(i));
  };
  const add = (key: string): void => {
    const name = keyBytes(key);
    const before = texts.get(name);
    database.putSync(name, Buffer.from(String(Number(before ?? 0) + 1)));
  };
  return {
    steps: {
      set,
      setBatch,
      setOne,
      get: (keys) => {
        let sum = 0;
        for (const key of keys) sum += database.get(keyBytes(key))!.length;
        return sum;
      },
      text: (keys) => {
        let sum = 0;
        for (const key of keys) sum += texts.get(keyBytes(key))!.length;
        return sum;
      },
      read: (keys) => {
        let sum = 0;
        for (const key of keys) sum += lengthOf(database.getBinaryFast(keyBytes(key))!);
        return sum;
      },
      overwrite: set,
      overwriteBatch: setBatch,
      overwriteOne: setOne,
      increment: (keys) => {
        eachBatch(keys, SMALL_BATCH, (from, to) => {
          database.transactionSync(() => {
            for (let i = from; i < to; i++) add(keys[i]);
          });
        });
      },
      incrementOne: (keys) => {
        for (const key of keys)
          database.transactionSync(() => {
            add(key);
          });
      },
      delete: async (keys) => {
        for (let from = 0; from < keys.length; from += LARGE_BATCH) {
          const to = Math.min(from + LARGE_BATCH, keys.length);
          let last: unknown;
          for (let i = from; i < to; i++) last = database.remove(keyBytes(keys[i]));
          await last;
        }
      },
    },
    clear: () => {
      database.clearSync();
    },
    // The pages of its tree. Its file has those of transactions before in it, too: as many again.
    memory: () => {
      const { pageSize, treeBranchPageCount, treeLeafPageCount } = database.getStats();
      return pageSize * (treeBranchPageCount + treeLeafPageCount);
    },
    [Symbol.asyncDispose]: async () => {
      await database.close();
      await ends[Symbol.asyncDispose]();
    },
  };
}

/** Bytes of memory that the files of a directory on tmpfs take. */
function bytesIn(directory: string): number {
  let sum = 0;
  for (const name of fs.readdirSync(directory, { recursive: true, encoding: 'utf8' }))
    sum += fs.statSync(join(directory, name)).blocks * 512;
  return sum;
}

/** As much of the package `better-sqlite3` as is used. */
type Sqlite = new (path: string) => {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): unknown;
};
interface Statement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): unknown;
  pluck(): Statement;
}

/** SQLite on tmpfs, in its write-ahead mode, without syncing; statements are prepared. */
function openSqlite(): KeyStore {
  const ends = new Ends();
  const { path } = ends.use(new TmpfsDirectory());
  const database = new (load('better-sqlite3') as Sqlite)(join(path, 'sqlite'));
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536');
  database.exec('CREATE TABLE bench (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID');
  const put = database.prepare('INSERT OR REPLACE INTO bench VALUES (?, ?)');
  const get = database.prepare('SELECT value FROM bench WHERE key = ?').pluck();
  const text = database.prepare('SELECT CAST(value AS TEXT) FROM bench WHERE key = ?').pluck();
  const remove = database.prepare('DELETE FROM bench WHERE key = ?');
  const add = database
    .prepare('INSERT INTO bench VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value')
    .pluck();
  const setOne: Work = (keys) => {
    for (let i = 0; i < keys.length; i++) put.run(keys[i], valueOf(i));
  };
  const incrementOne: Work = (keys) => {
    for (const key of keys) add.get(key);
  };
  const inBatches =
    (most: number, work: Work): Work =>
    (keys) => {
      eachBatch(keys, most, (from, to) => {
        database.exec('BEGIN');
        work(keys.slice(from, to));
        database.exec('COMMIT');
      });
    };
  const set = inBatches(LARGE_BATCH, setOne);
  const lengths =
    (statement: Statement): Work =>
    (keys) => {
      let sum = 0;
      for (const key of keys) sum += (statement.get(key) as Buffer | string).length;
      return sum;
    };
  return {
    steps: {
      set,
      setBatch: inBatches(SMALL_BATCH, setOne),
      setOne,
      get: lengths(get),
      text: lengths(text),
      overwrite: set,
      overwriteBatch: inBatches(SMALL_BATCH, setOne),
      overwriteOne: setOne,
      increment: inBatches(SMALL_BATCH, incrementOne),
      incrementOne,
      delete: inBatches(LARGE_BATCH, (keys) => {
        for (const key of keys) remove.run(key);
      }),
    },
    clear: () => database.exec('DELETE FROM bench'),
    memory: () => bytesIn(path),
    [Symbol.asyncDispose]: async () => {
      database.close();
      await ends[Symbol.asyncDispose]();
    },
  };
}
