/** What is measured of a place where somebody keeps values under keys. */

/** What is done with keys, in this order. */
export const STEPS = [
  'set',
  'setBatch',
  'setOne',
  'get',
  'text',
  'read',
  'getOne',
  'overwrite',
  'overwriteBatch',
  'overwriteOne',
  'increment',
  'incrementOne',
  'delete',
] as const;
export type Step = (typeof STEPS)[number];

/**
 * Does something with each of the keys. Where it reads, it says how many bytes all values have
 * together.
 */
export type Work = (keys: readonly string[]) => unknown;

export interface KeyStore extends AsyncDisposable {
  readonly steps: Readonly<Partial<Record<Step, Work>>>;
  /** Takes all keys out. */
  clear(): unknown;
  /** Bytes of memory that it takes now. */
  memory(): number | Promise<number>;
}

export type KeyStoreName = 'ours' | 'huge' | 'heap' | 'lmdb' | 'sqlite' | 'redis';
