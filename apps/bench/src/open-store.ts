/**
 * What somebody would use who does not know live update: bytes that stay on tmpfs, in a file that
 * is mapped, in LMDB or in SQLite.
 */
import { createRequire, enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { PAGE_SIZE } from '@liveupdate/base';
import { MappedRam } from '@liveupdate/linux';
import { CODE_CACHE_VARIABLE } from './child-side.ts';
import { fillBytes, middleOf, touchBytes } from './workload.ts';

export type StoreKind = 'mapped' | 'lmdb' | 'sqlite';

/** What the program is told. */
export interface StoreArgument {
  readonly kind: StoreKind;
  /** Where its files are, on tmpfs. */
  readonly directory: string;
  /** Bytes that it keeps. */
  readonly size: number;
}

/** Numbers under keys, beside the bytes. */
export interface Numbers {
  /** 0 where nothing was put. */
  readonly get: (key: number) => number;
  /** What it returns resolves when the number is where the next program finds it. */
  readonly put: (key: number, value: number) => unknown;
}

/** What is open. */
export interface Store {
  /** Writes all bytes, in values of 1 MiB where there are values. */
  fill(): void;
  firstByte(): number;
  /** Makes it as it is while the program works. */
  work?(): void;
  /** Before the clock starts: what can be done while all is still served. */
  prepareEnd?(): void;
  end(): unknown;
}

/** What is open in a program that is killed: nobody ends it. */
export interface KilledStore extends Store {
  /** A page in the midst: of a value, its first. */
  readPage(): Uint8Array;
  writePage(page: Uint8Array): void;
  /** Reads all bytes, so that they are in this process's page tables. */
  readAll(): void;
}

const VALUE = 2 ** 20;
/** Values of a transaction. */
const BATCH = 64;

/** Where a store lies. */
export function pathOf({ kind, directory }: StoreArgument): string {
  return join(directory, kind);
}

/** Keeps the compiled code of the packages, as the program's own is. */
export function keepCompiledCode(kind: StoreKind): void {
  const cache = process.env[CODE_CACHE_VARIABLE];
  if (cache !== undefined) enableCompileCache(join(cache, kind));
}

/** Loads a package of npm where this program needs it: each kind another one. */
function load(name: string): unknown {
  return createRequire(process.argv[1])(name);
}

function countOf(size: number): number {
  return Math.ceil(size / VALUE);
}

function* values(size: number): Generator<number[]> {
  const count = countOf(size);
  for (let from = 0; from < count; from += BATCH)
    yield Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => from + i);
}

/** What is in a value. */
function content(): Uint8Array {
  const bytes = new Uint8Array(VALUE);
  fillBytes(bytes);
  return bytes;
}

/**
 * A file on tmpfs, mapped. It leaves the page tables before the clock starts, as a service's RAM
 * does and a bare program's.
 */
export function openMapped(argument: StoreArgument, isNew: boolean): KilledStore {
  const { size } = argument;
  const path = pathOf(argument);
  const ram = isNew ? MappedRam.create({ path, size }) : MappedRam.open({ path });
  const touchAll = (): void => {
    touchBytes(ram.bytes(0, size));
  };
  return {
    fill: () => {
      fillBytes(ram.bytes(0, size));
    },
    firstByte: () => {
      const [first] = ram.bytes(0, 1);
      return first;
    },
    work: touchAll,
    prepareEnd: () => {
      Array.from(ram.dropPageTables());
    },
    end: () => {
      ram.close();
    },
    readPage: () => ram.bytes(middleOf(size), PAGE_SIZE).slice(),
    writePage: (page) => {
      ram.bytes(middleOf(size), PAGE_SIZE).set(page);
    },
    readAll: touchAll,
  };
}

/** A store of values that has a place for numbers, too. */
export interface NumbersStore extends Store {
  readonly numbers: Numbers;
  /** Reads all bytes, where they are mapped, so that they are in this process's page tables. */
  readAll?(): void;
}

/** As much of the package `lmdb` as is used. */
interface Lmdb {
  readonly open: (options: object) => {
    transactionSync(work: () => unknown): void;
    put(key: number, value: Uint8Array): unknown;
    getBinaryFast(key: number): Uint8Array | undefined;
    openDB(options: object): {
      get(key: number): number | undefined;
      put(key: number, value: number): Promise<boolean>;
    };
    close(): Promise<void>;
  };
}

export function openLmdb(argument: StoreArgument): KilledStore & NumbersStore {
  const { size } = argument;
  const middle = Math.floor(countOf(size) / 2);
  const { open } = load('lmdb') as Lmdb;
  const database = open({
    path: pathOf(argument),
    encoding: 'binary',
    mapSize: size * 1.5 + 2 ** 24,
    noSync: true, // it is on tmpfs
  });
  let opened: ReturnType<typeof database.openDB> | undefined;
  const numbers = (): NonNullable<typeof opened> =>
    (opened ??= database.openDB({ name: 'numbers', encoding: 'msgpack' }));
  return {
    numbers: {
      get: (key) => numbers().get(key) ?? 0,
      put: (key, value) => numbers().put(key, value),
    },
    fill: () => {
      const value = content();
      for (const keys of values(size))
        database.transactionSync(() => {
          for (const key of keys) database.put(key, value);
        });
    },
    firstByte: () => database.getBinaryFast(0)![0],
    end: () => database.close(),
    readPage: () => new Uint8Array(database.getBinaryFast(middle)!.subarray(0, PAGE_SIZE)),
    writePage: (page) => {
      const value = content();
      value.set(page);
      database.transactionSync(() => database.put(middle, value));
    },
    readAll: () => {
      for (const keys of values(size)) for (const key of keys) touchBytes(database.getBinaryFast(key)!);
    },
  };
}

/** As much of the package `better-sqlite3` as is used. */
type Sqlite = new (path: string) => {
  exec(sql: string): unknown;
  prepare(sql: string): {
    run(...values: unknown[]): unknown;
    get(...values: unknown[]): { value: Uint8Array & number } | undefined;
  };
  close(): unknown;
};

export function openSqlite(argument: StoreArgument, isNew: boolean): NumbersStore {
  const { size } = argument;
  const database = new (load('better-sqlite3') as Sqlite)(pathOf(argument));
  database.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF');
  if (isNew)
    database.exec(
      'CREATE TABLE bench (key INTEGER PRIMARY KEY, value BLOB); CREATE TABLE numbers (key INTEGER PRIMARY KEY, value INTEGER)',
    );
  return {
    numbers: sqliteNumbers(database),
    fill: () => {
      const value = content();
      const insert = database.prepare('INSERT INTO bench VALUES (?, ?)');
      for (const keys of values(size)) {
        database.exec('BEGIN');
        for (const key of keys) insert.run(key, value);
        database.exec('COMMIT');
      }
    },
    firstByte: () =>
      database.prepare('SELECT substr(value, 1, 1) AS value FROM bench WHERE key = 0').get()!.value[0],
    end: () => database.close(),
  };
}

/** Statements are made when somebody wants them. */
function sqliteNumbers(database: InstanceType<Sqlite>): Numbers {
  type Statement = ReturnType<typeof database.prepare>;
  let get: Statement | undefined;
  let put: Statement | undefined;
  return {
    get: (key) => (get ??= database.prepare('SELECT value FROM numbers WHERE key = ?')).get(key)?.value ?? 0,
    put: (key, value) =>
      (put ??= database.prepare('INSERT OR REPLACE INTO numbers VALUES (?, ?)')).run(key, value),
  };
}
