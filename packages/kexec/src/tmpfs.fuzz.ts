/**
 * A shmem file and a memfd of this machine do the same, operation for operation: bytes, sizes,
 * positions, error codes, data and holes, seals, blocks. The real kernel judges. Large folios are
 * off on both sides. Run again what failed with LIVEUPDATE_SEED.
 */
import { existsSync, readFileSync } from 'node:fs';
import { codeOf, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { MappedRam, Memfd, type MemfdMapping } from '@liveupdate/linux';
import { PageAllocator, PageTable } from '@liveupdate/mm';
import {
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MFD_NOEXEC_SEAL,
  SEAL_EXEC,
  SEAL_FUTURE_WRITE,
  SEAL_GROW,
  SEAL_SEAL,
  SEAL_SHRINK,
  SEAL_WRITE,
  SEEK_CUR,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  SEEK_SET,
  Shmem,
  type ShmemFile,
  type ShmemMapping,
} from '@liveupdate/shmem';
import fc from 'fast-check';
import { expect, test } from 'vitest';

/** Operations that one run of the checks does. */
const OPERATIONS = isQuick ? 30_000 : 200_000;
const PER_RUN = 250;

/** Most operations are within so many bytes, where they meet each other. */
const SPAN = 24 * PAGE_SIZE;
/** A place far from there, for files that are mostly a hole. */
const FAR = 3 * 2 ** 30;

const SEALS = [SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE, SEAL_FUTURE_WRITE, SEAL_EXEC];

const DATA = new Uint8Array(SPAN + 256).map((_, i) => 1 + ((i * 7 + (i >> 8) * 3) % 255));
const target = { ours: new Uint8Array(SPAN), real: new Uint8Array(SPAN) };

/** What writes at `at` write. */
function dataFor(at: number, length: number): Uint8Array {
  return DATA.subarray(at % 251, (at % 251) + length);
}

interface Op {
  readonly kind: keyof typeof KINDS;
  readonly description: 0 | 1;
  readonly at: number;
  readonly length: number;
  readonly pick: number;
}

/** One file on both sides, with two descriptions, and the mapping that it may have. */
interface Pair {
  readonly ours: readonly [ShmemFile, ShmemFile];
  readonly real: readonly [Memfd, Memfd];
  mapping: { readonly ours: ShmemMapping; readonly real: MemfdMapping; readonly size: number } | undefined;
  /** The file was cut since it was mapped: touching the real mapping could end this process. */
  isCut: boolean;
}

type Side = 'ours' | 'real';

/** What `work` gives, or the code that it fails with. */
function outcome(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    if (error instanceof KernelError || (error instanceof Error && 'syscall' in error)) return codeOf(error);
    throw error;
  }
}

function writeAt(pair: Pair, side: Side, op: Op, parts: readonly Uint8Array[], at?: number): number {
  if (side === 'real') return pair.real[op.description].write(parts, at);
  const file = pair.ours[op.description];
  if (parts.length === 1) return at === undefined ? file.write(parts[0]) : file.pwrite(parts[0], at);
  return at === undefined ? file.writev(parts) : file.pwritev(parts, at);
}

function readAt(pair: Pair, side: Side, op: Op, parts: number, at?: number): string {
  const bytes = target[side].subarray(0, op.length);
  const cut = Math.min(op.length, op.pick * 100);
  const targets = parts === 1 ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)];
  const file = pair.ours[op.description];
  let done: number;
  if (side === 'real') done = pair.real[op.description].read(targets, at);
  else if (parts === 1) done = at === undefined ? file.read(bytes) : file.pread(bytes, at);
  else done = at === undefined ? file.readv(targets) : file.preadv(targets, at);
  return Buffer.from(bytes.subarray(0, done)).toString('base64');
}

function parts({ at, length, pick }: Op): Uint8Array[] {
  const bytes = dataFor(at, length);
  const cut = Math.min(length, pick * 100);
  return [bytes.subarray(0, cut), new Uint8Array(0), bytes.subarray(cut)];
}

function fallocate(pair: Pair, side: Side, { description, at, length }: Op, mode: number): void {
  if (side === 'real') pair.real[description].fallocate(mode, at, length);
  else pair.ours[description].fallocate(mode, at, length);
}

function map(pair: Pair): unknown {
  if (pair.mapping) return 'mapped';
  const { size } = pair.ours[0];
  if (size === 0 || size > SPAN) return 'not to be mapped whole';
  const [ours, real] = [outcome(() => pair.ours[0].map()), outcome(() => pair.real[0].map())];
  if (typeof ours === 'string' || typeof real === 'string') return [String(ours), String(real)];
  pair.mapping = { ours: ours as ShmemMapping, real: real as MemfdMapping, size };
  pair.isCut = false;
  expect(Buffer.compare(pair.mapping.ours.bytes, pair.mapping.real.bytes)).toBe(0);
  return [undefined, undefined];
}

function unmap(pair: Pair): void {
  pair.mapping?.ours.unmap();
  pair.mapping?.real.unmap();
  pair.mapping = undefined;
}

/** Operations, by side. */
const KINDS = {
  write: (pair, side, op) => writeAt(pair, side, op, [dataFor(op.at, op.length)]),
  pwrite: (pair, side, op) => writeAt(pair, side, op, [dataFor(op.at, op.length)], op.at),
  writev: (pair, side, op) => writeAt(pair, side, op, parts(op)),
  pwritev: (pair, side, op) => writeAt(pair, side, op, parts(op), op.at),
  read: (pair, side, op) => readAt(pair, side, op, 1),
  pread: (pair, side, op) => readAt(pair, side, op, 1, op.at),
  readv: (pair, side, op) => readAt(pair, side, op, 2),
  preadv: (pair, side, op) => readAt(pair, side, op, 2, op.at),
  seekSet: (pair, side, { description, at, pick }) => pair[side][description].seek(at - pick * 8, SEEK_SET),
  seekCur: (pair, side, { description, length, pick }) =>
    pair[side][description].seek(pick % 2 === 0 ? length : -length, SEEK_CUR),
  seekEnd: (pair, side, { description, length, pick }) =>
    pair[side][description].seek(pick % 2 === 0 ? length : -length, SEEK_END),
  seekData: (pair, side, { description, at, pick }) => pair[side][description].seek(at - pick, SEEK_DATA),
  seekHole: (pair, side, { description, at, pick }) => pair[side][description].seek(at - pick, SEEK_HOLE),
  seekNowhere: (pair, side, { description, at, pick }) => pair[side][description].seek(at, 5 + pick),
  truncate: (pair, side, { description, at }) => {
    if (side === 'ours' && at < pair.ours[0].size) pair.isCut = true;
    pair[side][description].truncate(at);
  },
  truncateHere: (pair, side, { description }) => pair[side][description].truncate(pair[side][0].stat().size),
  allocate: (pair, side, op) => fallocate(pair, side, op, 0),
  allocateAhead: (pair, side, op) => fallocate(pair, side, op, FALLOC_KEEP_SIZE),
  // What is mapped keeps its pages here when a hole is punched, zeroed; so only what is not.
  punch: (pair, side, op) =>
    pair.mapping ? undefined : fallocate(pair, side, op, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE),
  fallocateOddly: (pair, side, op) => fallocate(pair, side, op, [2, 4, 8, 16, 32, 64, 128][op.pick % 7]),
  seal: (pair, side, { description, pick }) => pair[side][description].addSeals(SEALS[pick % SEALS.length]),
  sealOddly: (pair, side, { description, pick }) => pair[side][description].addSeals(64 + pick),
} satisfies Record<string, (pair: Pair, side: Side, op: Op) => unknown>;

/** Operations on both sides at once. */
const TOGETHER = {
  map: (pair: Pair): void => {
    const result = map(pair);
    if (Array.isArray(result)) expect(result[0]).toEqual(result[1]);
  },
  unmap,
  /** A byte is stored through both views. */
  store: ({ mapping, isCut }: Pair, { at }: { at: number }): void => {
    if (!mapping || isCut) return;
    mapping.ours.bytes[at % mapping.size] = at % 256;
    mapping.real.bytes[at % mapping.size] = at % 256;
  },
};

type AnyOp = Omit<Op, 'kind'> & { readonly kind: keyof typeof KINDS | keyof typeof TOGETHER };

function perform(pair: Pair, op: AnyOp): void {
  if (op.kind in TOGETHER) {
    TOGETHER[op.kind as keyof typeof TOGETHER](pair, op);
    return;
  }
  const kind = op.kind as keyof typeof KINDS;
  const ours = outcome(() => KINDS[kind](pair, 'ours', { ...op, kind }));
  const real = outcome(() => KINDS[kind](pair, 'real', { ...op, kind }));
  if (ours !== real) expect([kind, ours]).toEqual([kind, real]);
}

/** All that can be seen of a side without reading its bytes. */
function look(pair: Pair, side: Side): string {
  const [first, second] = pair[side];
  const { size, blocks, links } = first.stat();
  return `${size} bytes, ${blocks} blocks, ${links} links, seals ${first.seals}, at ${first.seek(0, SEEK_CUR)} and ${second.seek(0, SEEK_CUR)}`;
}

/** Every border between data and hole. */
function borders(file: ShmemFile | Memfd): string {
  let text = '';
  for (let at = 0, whence = SEEK_DATA; ; whence = whence === SEEK_DATA ? SEEK_HOLE : SEEK_DATA) {
    const next = outcome(() => file.seek(at, whence));
    text += `${String(next)} `;
    if (typeof next !== 'number') return text;
    at = next;
  }
}

/** The first SPAN bytes and the last of what is far away. */
function contents(pair: Pair, side: Side): Buffer {
  const near = new Uint8Array(SPAN);
  const far = new Uint8Array(SPAN);
  const file = pair[side][0];
  if (file instanceof Memfd) {
    file.read([near], 0);
    file.read([far], FAR);
  } else {
    file.pread(near, 0);
    file.pread(far, FAR);
  }
  return Buffer.concat([near, far]);
}

const place = fc.oneof(
  { weight: 6, arbitrary: fc.nat(SPAN) },
  { weight: 6, arbitrary: fc.nat(SPAN / PAGE_SIZE).map((page) => page * PAGE_SIZE) },
  { weight: 1, arbitrary: fc.nat(SPAN - 5).map((at) => FAR + at) },
);
const length = fc.oneof(
  fc.nat(3 * PAGE_SIZE),
  fc.nat(9).map((pages) => pages * PAGE_SIZE),
  fc.nat(50),
);
const oftenWanted = [
  'pwrite',
  'write',
  'pread',
  'seekData',
  'seekHole',
  'punch',
  'allocateAhead',
  'truncate',
];
const kind = fc.constantFrom(
  ...(
    [...Object.keys(KINDS), ...oftenWanted, ...oftenWanted, ...Object.keys(TOGETHER)] as AnyOp['kind'][]
  ).filter(
    (name) => name !== 'seal', // a sealed file is a dull file: see below
  ),
);
const anOp: fc.Arbitrary<AnyOp> = fc.record({
  kind: fc.oneof({ weight: 150, arbitrary: kind }, { weight: 1, arbitrary: fc.constant('seal' as const) }),
  description: fc.constantFrom(0, 1),
  at: place,
  length,
  pick: fc.nat(20),
});

/** Where the system gives memfds large folios, it allocates more than was asked for. */
const SETTING = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
const givesLarge =
  existsSync(SETTING) && /\[(always|within_size|force)\]/.test(readFileSync(SETTING, 'utf8'));

test.skipIf(givesLarge)('random operations do what tmpfs does', () => {
  using ram = MappedRam.anonymous({ name: 'liveupdate-fuzz-ram', size: 4 * 2 ** 20 });
  const table = new PageTable(ram.size);
  table.reserve(0, 1);
  const shmem = new Shmem({ pages: new PageAllocator(ram, table), huge: 'never' });
  const free = shmem.pages.freePages;
  let operations = 0;
  const run = (ops: readonly AnyOp[], flags: number): void => {
    const [ours, real] = [shmem.memfdCreate('f', flags), Memfd.create('liveupdate-fuzz', flags)];
    const pair: Pair = {
      ours: [ours, ours.reopen()],
      real: [real, real.reopen()],
      mapping: undefined,
      isCut: false,
    };
    try {
      for (const op of ops) {
        operations += 1;
        perform(pair, op);
        const [seen, wanted] = [look(pair, 'ours'), look(pair, 'real')];
        if (seen !== wanted) expect(`after ${op.kind}: ${seen}`).toBe(`after ${op.kind}: ${wanted}`);
      }
      expect(borders(ours)).toBe(borders(real));
      expect(contents(pair, 'ours').equals(contents(pair, 'real'))).toBe(true);
    } finally {
      unmap(pair);
      for (const file of [...pair.ours, ...pair.real]) file.close();
    }
    expect([shmem.used, shmem.pages.freePages]).toEqual([0, free]);
  };
  const property = fc.property(
    fc.array(anOp, { minLength: 1, maxLength: 2 * PER_RUN, size: 'max' }),
    fc.constantFrom(
      MFD_ALLOW_SEALING,
      MFD_ALLOW_SEALING | MFD_CLOEXEC,
      MFD_ALLOW_SEALING | MFD_EXEC,
      MFD_NOEXEC_SEAL,
      MFD_CLOEXEC,
    ),
    run,
  );
  // How many operations a run has is random: so runs go on until they were as many as said.
  for (let round = 0; operations < OPERATIONS; round++)
    fc.assert(property, {
      seed: seed + round,
      numRuns: Math.ceil((OPERATIONS - operations) / PER_RUN),
    });
  shmem.pages.assertConsistent();
});
