/**
 * The service that the kill storm kills: opens a RAM, tells what it finds, then does random things
 * with sessions and files until it is killed, hands over or ends. Of each operation it tells before
 * and after, on standard output.
 *
 * All that it is to do is in the environment: see `Orders`.
 */
import * as fs from 'node:fs';
import { crc32 } from 'node:zlib';
import { codeOf, PAGE_SIZE } from '@liveupdate/base';
import type { IncomingSession, OutgoingSession } from '@liveupdate/luo-core';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, ShmemFile } from '@liveupdate/shmem';
import { Machine } from './machine.ts';
import {
  bytesOf,
  drawing,
  type FoundFile,
  type FoundSession,
  type Line,
  type Operation,
} from './test-storm-model.ts';

/** What the storm tells a worker. */
export interface Orders {
  readonly name: string;
  readonly size: number;
  /** No other worker of this storm has this number. */
  readonly life: number;
  readonly seed: number;
  /** How often each file is retrieved and compared before work begins: of 4. */
  readonly look: number;
  /** Pages whose bytes are told in full: `token:page`, `token:*`. */
  readonly doubts: readonly string[];
  /** How it ends where nobody kills it. */
  readonly end: 'never' | 'kexec' | 'handOver' | 'exit' | 'throw' | 'audit';
  readonly operations: number;
}

const NAMES = ['a', 'b', 'c', 'd'];
/** What a file must not grow beyond. */
const MOST = 24 * PAGE_SIZE;
const MOST_HUGE = 600 * PAGE_SIZE;
const MOST_FILES = 24;
/** A RAM may be full, and a file may be in the way of another. */
const MAY_FAIL = new Set(['ENOMEM', 'ENOSPC', 'EBUSY']);

let orders = JSON.parse(process.env.STORM_ORDERS ?? '') as Orders;

/** Waits for a slow reader: a line that is told has been told. */
function say(line: Line): void {
  let rest = Buffer.from(`${JSON.stringify(line)}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(1, rest));
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error; // not blocking since process.stdout was made
    }
  }
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface File {
  readonly id: number;
  readonly file: ShmemFile;
  /** Where it is preserved. */
  session?: Out | undefined;
  token?: number | undefined;
  /** The session that it came in, as long as that is not finished. */
  from?: In | undefined;
  readonly isHuge: boolean;
}

interface Out {
  readonly id: string;
  readonly session: OutgoingSession;
}

interface In {
  readonly id: string;
  readonly session: IncomingSession;
}

say(['open']);
const machine = await Machine.open({ name: orders.name, size: orders.size });
say(['opened', machine.generation, machine.origin, machine.lastOwner?.end]);
const { luo, shmem, pages, kho } = machine.kernel;
const below = drawing(orders.seed + machine.generation * 7919);
const of = <T>(list: readonly T[]): T => list[below(list.length)];

let next = 0;
/** Not 0; a number of this owner alone. */
const number = (): number => (orders.life * 1000 + (machine.generation % 1000)) * 10_000 + ++next;

let files: File[] = [];
let outs: Out[] = [];
let ins: In[] = [];
let steps = 0;

// ---- What is there ------------------------------------------------------------------------------

/** Sessions of one name come older first. */
async function look(): Promise<FoundSession[]> {
  const found: FoundSession[] = [];
  for (const name of new Set(luo.incomingSessions.map((session) => session.name))) {
    const layers = luo.incomingSessions.filter((session) => session.name === name).length;
    const sessions = [luo.retrieveSession(name)];
    while (sessions.length < layers) sessions.push(luo.retrieveSession(name, { unfinished: true }));
    for (const session of sessions.reverse()) {
      const source = { id: `in${ins.length}`, session };
      ins.push(source);
      const all: FoundFile[] = [];
      for (const info of session.files) all.push(await lookAt(source, Number(info.token)));
      found.push({ name, files: all });
    }
  }
  return found;
}

async function lookAt(from: In, token: number): Promise<FoundFile> {
  if (below(4) >= orders.look) return { token };
  const file = await from.session.retrieve(token, ShmemFile);
  files.push({ id: fileOf(token), file, from, token, isHuge: file.size > MOST });
  const all = new Uint8Array(file.size);
  file.pread(all, 0);
  const sums: number[] = [];
  const asked: Record<number, string> = {};
  for (let at = 0; at < all.length; at += PAGE_SIZE) {
    const page = all.subarray(at, at + PAGE_SIZE);
    if (isDoubted(token, sums.length)) asked[sums.length] = Buffer.from(page).toString('base64');
    sums.push(crc32(page));
  }
  return { token, content: { size: file.size, sums, pages: asked } };
}

/** Whatever token the file had when somebody doubted what is in this page. */
function isDoubted(token: number, page: number): boolean {
  return orders.doubts.some((doubted) => {
    const [of, which] = doubted.split(':');
    return fileOf(Number(of)) === fileOf(token) && (which === '*' || Number(which) === page);
  });
}

/** A token names the file that it is for, and how often that was preserved before. */
const tokenFor = (id: number): number =>
  id * 64 + (uses.set(id, ((uses.get(id) ?? -1) + 1) % 64).get(id) ?? 0);
const fileOf = (token: number): number => Math.floor(token / 64);
const uses = new Map<number, number>();

// ---- Operations ---------------------------------------------------------------------------------

/** Tells an operation, does it, and tells that it is done. */
async function tell(operation: Operation, work: () => unknown): Promise<boolean> {
  const n = ++steps;
  say(['intent', n, operation]);
  try {
    await work();
  } catch (error) {
    const code = codeOf(error);
    if (!(operation[0] === 'seal' ? code === 'EBUSY' : MAY_FAIL.has(code))) throw error;
    say(['refused', n, code]);
    return false;
  }
  if (operation[0] === 'finish') finished.push(n);
  else say(['ack', n]);
  return true;
}

/** Finishes that are over when the event loop has turned. */
const finished: number[] = [];
async function settle(): Promise<void> {
  for (const n of finished) say(['turn', n]);
  await turn();
  for (const n of finished.splice(0)) say(['ack', n]);
}

async function write(file: File, at: number, length: number): Promise<void> {
  const seed = below(2 ** 31);
  await tell(['write', file.id, at, length, seed], () => {
    const bytes = bytesOf(seed, length);
    if (at + length > file.file.size || below(2) === 0) {
      file.file.pwrite(bytes, at);
      return;
    }
    const mapping = file.file.map();
    mapping.bytes.set(bytes, at);
    mapping.unmap();
  });
}

async function create(): Promise<void> {
  const isHuge = below(12) === 0;
  const file: File = { id: number(), file: shmem.memfdCreate('f'), isHuge };
  if (isHuge) file.file.adviseHuge();
  await tell(['create', file.id, isHuge], () => undefined);
  files.push(file);
  const most = isHuge ? MOST_HUGE : of([PAGE_SIZE, 3 * PAGE_SIZE, MOST]);
  await write(file, of([0, 0, below(most)]), 1 + below(most));
}

async function preserve(which: readonly File[], out: Out): Promise<void> {
  const pairs = which.map((file) => [tokenFor(file.id), file] as const);
  const told = pairs.map(([token, { id }]) => [token, id] as const);
  const isDone = await tell(['preserve', out.id, told], () =>
    pairs.length === 1 && below(4) > 0
      ? out.session.preserve(pairs[0][1].file, pairs[0][0])
      : out.session.preserveAll(pairs.map(([token, { file }]) => [token, file])),
  );
  if (!isDone) return;
  for (const [token, file] of pairs) {
    file.session = out;
    file.token = token;
    file.from = undefined;
  }
}

async function finish(from: In): Promise<void> {
  if (!(await tell(['finish', from.id], () => from.session.finish()))) return;
  ins = ins.filter((each) => each !== from);
  for (const file of files) if (file.from === from) file.from = undefined;
}

async function retrieveAll(from: In): Promise<void> {
  for (const { token, retrieval } of from.session.files) {
    if (retrieval !== 'untried' || files.some((file) => file.token === Number(token))) continue;
    await retrieve(from, Number(token));
  }
}

async function retrieve(from: In, token: number): Promise<void> {
  await tell(['retrieve', from.id, token], async () => {
    const file = await from.session.retrieve(token, ShmemFile);
    files.push({ id: fileOf(token), file, from, token, isHuge: file.size > MOST });
  });
}

/** What is cut in a file that is not finished may be found as it was, or as zeros. */
function doubt({ from, token = 0 }: File): void {
  if (!from) return;
  orders = { ...orders, doubts: [...orders.doubts, `${token}:*`] };
  process.env.STORM_ORDERS = JSON.stringify(orders); // for the next generation of this process
}

const free = (): File[] => files.filter(({ session }) => session === undefined);
const cameIn = (from: In): File[] => files.filter((file) => file.from === from && file.session === undefined);

async function anOut(): Promise<Out | undefined> {
  if (outs.length > 0 && below(6) > 0) return of(outs);
  const name = of(NAMES);
  if (outs.some(({ session }) => session.name === name)) return of(outs);
  const id = `out${steps}`;
  await tell(['session', id, name], () => {
    outs.push({ id, session: luo.createSession(name) });
  });
  return outs.at(-1);
}

async function drop(file: File): Promise<void> {
  await tell(['drop', file.id], () => {
    file.file.close();
  });
  files = files.filter((each) => each !== file);
}

type Work = () => Promise<void>;

const WORKS: Record<string, Work> = {
  create,
  async preserve() {
    const out = await anOut();
    if (out && free().length > 0) await preserve([of(free())], out);
  },
  async preserveMany() {
    const out = await anOut();
    const some = free().filter(() => below(2) === 0);
    if (out && some.length > 0) await preserve(some, out);
  },
  async preserveTwo() {
    const out = await anOut();
    const [one, other] = [free().at(0), free().at(1)];
    if (out && one && other) await Promise.all([preserve([one], out), preserve([other], out)]);
  },
  async unpreserve() {
    const some = files.filter(({ session }) => session);
    if (some.length === 0) return;
    const file = of(some);
    const { session, token = 0 } = file;
    if (!session) return;
    const isDone = await tell(['unpreserve', session.id, token], () => session.session.unpreserve(token));
    if (isDone) file.session = file.token = undefined;
  },
  async close() {
    if (outs.length === 0 || below(3) > 0) return;
    const out = of(outs);
    await tell(['close', out.id], () => out.session.close());
    outs = outs.filter((each) => each !== out);
    for (const file of files) if (file.session === out) file.session = file.token = undefined;
  },
  async overwrite() {
    const some = files.filter(({ file }) => file.size > 0);
    if (some.length === 0) return;
    const file = of(some);
    const at = below(file.file.size);
    await write(file, at, 1 + below(Math.min(file.file.size - at, 5 * PAGE_SIZE)));
  },
  async truncate() {
    if (free().length === 0) return;
    const file = of(free());
    const size = of([below(file.isHuge ? MOST_HUGE : MOST), below(file.file.size + 1), PAGE_SIZE]);
    doubt(file);
    await tell(['truncate', file.id, size], () => {
      file.file.truncate(size);
    });
  },
  async punch() {
    const some = free().filter(({ file }) => file.size > 0);
    if (some.length === 0) return;
    const one = of(some);
    const { id, file } = one;
    doubt(one);
    const at = below(file.size);
    const length = 1 + below(Math.min(file.size - at, 8 * PAGE_SIZE));
    await tell(['punch', id, at, length], () => {
      file.fallocate(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, at, length);
    });
  },
  async drop() {
    const some = free().filter(({ from }) => !from);
    if (some.length > 0) await drop(of(some));
  },
  async retrieve() {
    if (ins.length === 0) return;
    const from = of(ins);
    const some = from.session.files.filter(({ retrieval }) => retrieval === 'untried');
    if (some.length > 0) await retrieve(from, Number(of(some).token));
  },
  async finish() {
    if (ins.length > 0) await finish(of(ins));
    if (below(2) === 0) await settle();
  },
  /** As the README has it. */
  async preserveThenFinish() {
    const out = await anOut();
    if (!out || ins.length === 0) return;
    const from = of(ins);
    await retrieveAll(from);
    for (const file of cameIn(from)) await preserve([file], out);
    await finish(from);
  },
  /** In the order of older programs: without a gap, as long as it is the same turn. */
  async finishThenPreserve() {
    const out = await anOut();
    if (!out || ins.length === 0) return;
    const from = of(ins);
    await retrieveAll(from);
    const some = cameIn(from);
    await finish(from);
    if (some.length === 0) return;
    if (below(2) === 0) await preserve(some, out);
    else for (const file of some) await preserve([file], out);
  },
  settle,
  async kexecInVain() {
    if (below(4) > 0) return;
    await tell(['seal', 'refused'], () =>
      machine.kexec([], { file: '/no/such/program' }).catch((error: unknown) => {
        if (codeOf(error) !== 'ENOENT') throw error;
      }),
    );
    for (const n of finished.splice(0)) say(['ack', n]);
    // Those that were empty and in the way are over.
    ins = ins.filter(({ session }) => session.state === 'open');
  },
};

const names = Object.keys(WORKS);

/** What is there must not become more from life to life. */
async function tidy(): Promise<void> {
  const many = files.length + ins.reduce((sum, { session }) => sum + session.fileCount, 0);
  if (many <= MOST_FILES) return;
  const way = below(4);
  if (way === 0 && ins.length > 0) return finish(of(ins));
  if (way === 1) return WORKS.preserveThenFinish();
  if (way === 2) return WORKS.close();
  const rest = free().filter(({ from }) => !from);
  for (const file of rest) await drop(file);
}

async function work(): Promise<void> {
  for (let i = 0; i < orders.operations; i++) {
    await WORKS[of(names)]();
    await tidy();
    if (below(8) === 0) await settle();
  }
}

/** Gives up all that was found: what memory is taken then? */
async function audit(): Promise<void> {
  for (const from of ins.slice()) await finish(from);
  for (const file of files.slice()) await drop(file);
  await settle();
  await settle();
  pages.assertConsistent();
  const { pageCount = 0 } = kho.publication ?? {};
  const total = machine.ram.size / PAGE_SIZE;
  say(['audit', { taken: total - pages.freePages, record: pageCount, map: kho.mapPages }]);
}

async function end(): Promise<void> {
  for (const n of finished) say(['turn', n]);
  switch (orders.end) {
    case 'never':
      return;
    case 'audit':
      return audit();
    case 'exit':
      say(['end', 'exit']);
      return process.exit(3);
    case 'throw':
      say(['end', 'throw']);
      throw new Error('as it was told to');
    case 'kexec':
      if (machine.generation % 4 === 0) {
        say(['end', 'kexec']);
        return;
      }
      await tell(['seal', 'kexec'], () => machine.kexec(undefined, { dropUnfinished: below(2) === 0 }));
      return tell(['seal', 'kexec'], () => machine.kexec(undefined, { dropUnfinished: true })).then(
        () => undefined,
      );
    case 'handOver':
      if (!(await tell(['seal', 'handOver'], () => machine.handOver({ dropUnfinished: below(2) === 0 }))))
        await tell(['seal', 'handOver'], () => machine.handOver({ dropUnfinished: true }));
      process.exit(0);
  }
}

if (below(2) === 0) await turn();
say(['found', await look()]);
pages.assertConsistent();
say(['work']);
if (orders.end !== 'audit') await work();
await end();
await new Promise(() => setInterval(() => undefined, 1000));
