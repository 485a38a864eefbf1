/**
 * A program that does random things with files on a RAM larger than its file system, and compares
 * with a model after each: run by full.fuzz.ts in a process of its own, because what is tested may
 * end the process.
 *
 *   node test-full.ts <path of the RAM> <operations> <seed> [operation that is to fail, ...]
 *
 * It goes on after so many operations until each of those has been told that the system is full,
 * but for ten times as many at most.
 */
import { deepStrictEqual, ok } from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { codeOf, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, ShmemFile } from '@liveupdate/shmem';
import { Machine } from './machine.ts';

const [path, operations, seed] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const toFail = process.argv.slice(5);
/** No file is longer. */
const MOST = 2 ** 20;
const MOST_FILES = 6;

let state = seed;
/** A whole number below `end`. */
function below(end: number): number {
  state = (state + 0x6d2b_79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % end;
}

/** A file, what it must hold, and the token that it is preserved under. */
interface Pair {
  file: ShmemFile;
  bytes: Uint8Array;
  size: number;
  token: number | undefined;
}

const open = async (size?: string) => Machine.open({ path, onCrash: 'cold', ...(size ? { size } : {}) });
let machine = await open('64MiB');
let session = machine.kernel.luo.createSession('s');
let pairs: Pair[] = [];
let nextToken = 1;
/** How often the system was full, by operation. */
const full: Record<string, number> = {};

function newPair(): Pair {
  const pair = {
    file: machine.kernel.shmem.memfdCreate('f'),
    bytes: new Uint8Array(MOST),
    size: 0,
    token: undefined,
  };
  if (below(3) === 0) pair.file.adviseHuge();
  pairs.push(pair);
  return pair;
}

/** A range, mostly short, sometimes the whole file. */
function range(): { at: number; length: number } {
  const length = below(4) === 0 ? 1 + below(2 ** 19) : 1 + below(3 * PAGE_SIZE);
  return { at: below(MOST - length), length };
}

const data = new Uint8Array(2 ** 21).map((_, i) => 1 + ((i * 7) % 251));
const some = (length: number): Uint8Array => data.subarray(below(251)).subarray(0, length);

type Work = (pair: Pair) => void | Promise<void>;

const WORKS: Record<string, Work> = {
  write(pair) {
    const { at, length } = range();
    const from = some(length);
    const done = pair.file.pwrite(from, at);
    pair.bytes.set(from.subarray(0, done), at);
    pair.size = Math.max(pair.size, done > 0 ? at + done : 0);
  },
  writev(pair) {
    const { at, length } = range();
    const parts = [some(Math.ceil(length / 3)), some(Math.floor(length / 2))];
    const done = pair.file.pwritev(parts, at);
    const all = Buffer.concat(parts).subarray(0, done);
    pair.bytes.set(all, at);
    pair.size = Math.max(pair.size, done > 0 ? at + done : 0);
  },
  allocate(pair) {
    const { at, length } = range();
    pair.file.allocate(at, length);
    pair.size = Math.max(pair.size, at + length);
  },
  punch(pair) {
    const { at, length } = range();
    pair.file.fallocate(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, at, length);
    pair.bytes.fill(0, at, at + length);
  },
  truncate(pair) {
    const size = below(MOST);
    pair.file.truncate(size);
    pair.bytes.fill(0, size);
    pair.size = size;
  },
  map(pair) {
    const mapping = pair.file.map();
    try {
      if (pair.size === 0) return;
      for (let i = 0; i < 4; i++) {
        const at = below(pair.size);
        mapping.bytes[at] = 77;
        pair.bytes[at] = 77;
      }
      deepStrictEqual(Buffer.compare(mapping.bytes, pair.bytes.subarray(0, pair.size)), 0, 'a view');
    } finally {
      mapping.unmap();
    }
  },
  async preserve(pair) {
    if (pair.token !== undefined) return;
    const token = nextToken++;
    await session.preserve(pair.file, token);
    pair.token = token;
  },
  async preserveAll() {
    const free = pairs.filter(({ token }) => token === undefined);
    const tokens = free.map(() => nextToken++);
    await session.preserveAll(free.map(({ file }, i) => [tokens[i], file]));
    for (const [i, pair] of free.entries()) pair.token = tokens[i];
  },
  async unpreserve(pair) {
    if (pair.token === undefined) return;
    await session.unpreserve(pair.token);
    pair.token = undefined;
  },
  read(pair) {
    const { at, length } = range();
    const target = new Uint8Array(length).fill(9);
    const done = pair.file.pread(target, at);
    deepStrictEqual(done, Math.max(0, Math.min(length, pair.size - at)));
    ok(Buffer.compare(target.subarray(0, done), pair.bytes.subarray(at, at + done)) === 0, 'what is read');
  },
  close(pair) {
    if (pair.token !== undefined) return;
    pair.file.close();
    pairs = pairs.filter((each) => each !== pair);
  },
  async handOver() {
    if (below(4) > 0) return;
    await machine.handOver(); // ENOSPC: everything goes on
    machine = await open();
    const before = machine.kernel.luo.retrieveSession('s');
    pairs = pairs.filter(({ token }) => token !== undefined);
    for (const pair of pairs) {
      pair.file = await before.retrieve(pair.token ?? 0, ShmemFile);
      pair.token = undefined;
    }
    await before.finish();
    session = machine.kernel.luo.createSession('s');
    await turn(); // it owns the RAM from here on, and uses again what it frees
  },
};

/** What the system gave, but for the nodes of the map: they stay, as in Linux. */
function taken(): number {
  return machine.ram.allocated() - machine.kernel.kho.mapPages * PAGE_SIZE;
}

/** Everything that all files hold, and that no frame is lost. */
function check(pair: Pair): void {
  deepStrictEqual(pair.file.size, pair.size);
  const all = new Uint8Array(pair.size);
  deepStrictEqual(pair.file.pread(all, 0), pair.size);
  ok(Buffer.compare(all, pair.bytes.subarray(0, pair.size)) === 0, 'a file');
}

const names = Object.keys(WORKS);
const isDone = (done: number): boolean =>
  done >= 10 * operations || (done >= operations && toFail.every((name) => full[name] > 0));
for (let done = 0; !isDone(done); done++) {
  const pair =
    pairs.length < MOST_FILES && below(8) === 0 ? newPair() : (pairs[below(pairs.length)] ?? newPair());
  const name = names[below(names.length)];
  const before = taken();
  try {
    await WORKS[name](pair);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    const code = codeOf(error);
    if (code === 'ENOSPC') {
      full[name] = (full[name] ?? 0) + 1;
      ok(taken() <= before, `${name} took memory and failed`);
      if (name === 'handOver') await turn(); // what it makes ready for the next is not that one's
    } else if (code !== 'EPERM' || pair.token === undefined) {
      throw error;
    }
  }
  if (pairs.includes(pair)) check(pair);
  if (done % 50 === 0) machine.kernel.pages.assertConsistent();
}
machine.remove();
console.log(JSON.stringify(full));
