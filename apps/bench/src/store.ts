/**
 * What somebody would use who does not know live update: a program whose bytes stay on tmpfs, in a
 * file that it maps, in LMDB or in SQLite. It passes nothing on: it ends what it has open, is
 * replaced by exec as the service is, opens the same again and reads the first byte.
 */
import { createRequire, enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { MappedRam, replaceProcess } from '@liveupdate/linux';
import {
  argument,
  awaitGo,
  before,
  CODE_CACHE_VARIABLE,
  noteExec,
  now,
  say,
  tellFailures,
} from './child-side.ts';
import { fillBytes, touchBytes } from './workload.ts';

tellFailures();

export type StoreKind = 'mapped' | 'lmdb' | 'sqlite';

/** What the program is told. */
export interface StoreArgument {
  readonly kind: StoreKind;
  /** Where its files are, on tmpfs. */
  readonly directory: string;
  /** Bytes that it keeps. */
  readonly size: number;
}

/** Milliseconds from the call that ends what is open to the first byte read. */
export interface StoreStart {
  readonly start?: number;
}

/** What is open. */
interface Store {
  /** Writes all bytes, in values of 1 MiB where there are values. */
  fill(): void;
  firstByte(): number;
  /** Makes it as it is while the program works. */
  work?(): void;
  /** Before the clock starts: what can be done while all is still served. */
  prepareEnd?(): void;
  end(): unknown;
}

const VALUE = 2 ** 20;
/** Values of a transaction. */
const BATCH = 64;

/** Loads a package of npm where this program needs it: each kind another one. */
function load(name: string): unknown {
  return createRequire(process.argv[1])(name);
}

function* values(size: number): Generator<number[]> {
  const count = Math.ceil(size / VALUE);
  for (let from = 0; from < count; from += BATCH)
    yield Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => from + i);
}

const CONTENT = new Uint8Array(VALUE);

/**
 * A file on tmpfs, mapped. It leaves the page tables before the clock starts, as a service's RAM
 * does and a bare program's.
 */
function openMapped({ directory, size }: StoreArgument, isNew: boolean): Store {
  const path = join(directory, 'mapped');
  const ram = isNew ? MappedRam.create({ path, size }) : MappedRam.open({ path });
  return {
    fill: () => {
      fillBytes(ram.bytes(0, size));
    },
    firstByte: () => {
      const [first] = ram.bytes(0, 1);
      return first;
    },
    work: () => {
      touchBytes(ram.bytes(0, size));
    },
    prepareEnd: () => {
      Array.from(ram.dropPageTables());
    },
    end: () => {
      ram.close();
    },
  };
}

/** As much of the package `lmdb` as is used. */
interface Lmdb {
  readonly open: (options: object) => {
    transactionSync(work: () => void): void;
    put(key: number, value: Uint8Array): unknown;
    getBinaryFast(key: number): Uint8Array | undefined;
    close(): Promise<void>;
  };
}

function openLmdb({ directory, size }: StoreArgument): Store {
  const { open } = load('lmdb') as Lmdb;
  const database = open({
    path: join(directory, 'lmdb'),
    encoding: 'binary',
    mapSize: size * 1.5 + 2 ** 24,
    noSync: true, // it is on tmpfs
  });
  return {
    fill: () => {
      for (const keys of values(size))
        database.transactionSync(() => {
          for (const key of keys) database.put(key, CONTENT);
        });
    },
    firstByte: () => database.getBinaryFast(0)![0],
    end: () => database.close(),
  };
}

/** As much of the package `better-sqlite3` as is used. */
type Sqlite = new (path: string) => {
  exec(sql: string): unknown;
  prepare(sql: string): {
    run(...values: unknown[]): unknown;
    get(...values: unknown[]): { value: Uint8Array };
  };
  close(): unknown;
};

function openSqlite({ directory, size }: StoreArgument, isNew: boolean): Store {
  const database = new (load('better-sqlite3') as Sqlite)(join(directory, 'sqlite'));
  database.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF');
  if (isNew) database.exec('CREATE TABLE bench (key INTEGER PRIMARY KEY, value BLOB)');
  return {
    fill: () => {
      const insert = database.prepare('INSERT INTO bench VALUES (?, ?)');
      for (const keys of values(size)) {
        database.exec('BEGIN');
        for (const key of keys) insert.run(key, CONTENT);
        database.exec('COMMIT');
      }
    },
    firstByte: () =>
      database.prepare('SELECT substr(value, 1, 1) AS value FROM bench WHERE key = 0').get().value[0],
    end: () => database.close(),
  };
}

const OPEN: Readonly<Record<StoreKind, (argument: StoreArgument, isNew: boolean) => Store>> = {
  mapped: openMapped,
  lmdb: openLmdb,
  sqlite: openSqlite,
};

void main();

async function main(): Promise<void> {
  const told = argument() as StoreArgument;
  const noted = before();
  // The packages' compiled code is kept, as this program's own is.
  const cache = process.env[CODE_CACHE_VARIABLE];
  if (cache !== undefined) enableCompileCache(join(cache, told.kind));
  const store = OPEN[told.kind](told, noted === undefined);
  if (noted) {
    store.firstByte();
    say({ start: now() - noted.endAt } satisfies StoreStart);
  } else {
    fillBytes(CONTENT);
    store.fill();
    store.firstByte();
  }
  store.work?.();
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  say({});
  if (!(await awaitGo())) {
    await store.end();
    return;
  }
  store.prepareEnd?.();
  const endAt = now();
  await store.end();
  noteExec(() => ({ endAt }));
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  replaceProcess({ args, env: { ...process.env }, keepFds: [] });
}
