/**
 * Handovers with one wrong word each, and what becomes of them: in a real Linux, and here.
 *
 * Offsets are written out: they are what the handover has, not what our readers think.
 */
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { BootImage } from '@liveupdate/boot-image';
import { boot, readHandover } from '@liveupdate/kho';
import { LiveUpdateOrchestrator } from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { SparseRam, withMemoryMap } from '@liveupdate/mm';
import { pcMemoryMap } from '@liveupdate/boot-image';
import { KernelError } from '@liveupdate/base';
import { Shmem, ShmemFile } from '@liveupdate/shmem';
import { Guest } from './guest.ts';
import type { Judgement } from './guest/judge.ts';
import { describe, testFlbs, type MadeHandover } from './made-here.ts';

const JUDGE = fileURLToPath(new URL('./guest/judge.ts', import.meta.url));

/** Where the structures of a handover are, as physical addresses. */
export interface Places {
  readonly tree: number;
  /** Its compatible string. */
  readonly version: number;
  /** The property with the address of the map's root. */
  readonly rootProperty: number;
  readonly root: number;
  /** The leaf of pages of order 0 at the beginning of memory. */
  readonly leaf: number;
  readonly scratch: number;
  readonly luo: number;
  readonly sessions: number;
  readonly flbs: number;
  /** The files of the first session, and the second record of them. */
  readonly files: number;
  readonly file: number;
  /** The record of that file, the first chunk that lists its folios, and their array. */
  readonly memfd: number;
  readonly chunk: number;
  readonly folios: number;
}

/** One wrong word. `name` is `structure: what is wrong with it`. */
export interface Damage {
  readonly name: string;
  readonly at: (places: Places) => number;
  /** The word that is there to the one that is put there. */
  readonly word: (before: bigint, places: Places) => bigint;
}

const set = (value: bigint) => (): bigint => value;
const plus =
  (step: bigint) =>
  (before: bigint): bigint =>
    BigInt.asUintN(64, before + step);
/** The upper or lower half of the word, where a field has 32 bits. */
const low =
  (value: bigint) =>
  (before: bigint): bigint =>
    (before & ~0xffff_ffffn) | value;
const high =
  (value: bigint) =>
  (before: bigint): bigint =>
    (before & 0xffff_ffffn) | (value << 32n);

/** Bytes of the header of a device tree, and of its list of reserved memory. */
const TREE_HEADER = 56;
/** Milliseconds that a guest may take to judge: ten times what it does. */
const PATIENCE = 60_000;
const SESSION = 80;
const FILE = 64;
const BEYOND = 1n << 40n;

/** All of them, from the entry to the folios. */
export const DAMAGES: readonly Damage[] = [
  { name: 'tree: no magic number', at: ({ tree }) => tree, word: low(0n) },
  { name: 'tree: of another version', at: ({ tree }) => tree + 20, word: low(0x1200_0000n) },
  { name: 'tree: longer than its page', at: ({ tree }) => tree, word: high(0x0020_0000n) },
  { name: 'tree: kho-v9', at: ({ version }) => version, word: set(0x39_762d_6f68_6bn) },
  { name: 'tree: no version', at: ({ version }) => version, word: set(0n) },
  { name: 'map: root is 0', at: ({ rootProperty }) => rootProperty, word: set(0n) },
  { name: 'map: root is not a page', at: ({ rootProperty }) => rootProperty, word: plus(8n) },
  { name: 'map: root is beyond memory', at: ({ rootProperty }) => rootProperty, word: set(BEYOND) },
  { name: 'map: a leaf has one page less', at: ({ leaf }) => leaf, word: (before) => before & (before - 1n) },
  { name: 'scratch: an area is not whole pages', at: ({ scratch }) => scratch + 8, word: plus(1n) },
  { name: 'scratch: an area is beyond memory', at: ({ scratch }) => scratch + 32, word: set(BEYOND) },
  { name: 'LUO: luo-v9', at: ({ luo }) => luo, word: set(0x0039_762d_6f75_6cn) },
  { name: 'LUO: no version', at: ({ luo }) => luo, word: set(0n) },
  { name: 'LUO: another number of updates', at: ({ luo }) => luo + 8, word: set(41n) },
  { name: 'LUO: no sessions', at: ({ luo }) => luo + 16, word: set(0n) },
  { name: 'LUO: sessions not at a page', at: ({ luo }) => luo + 16, word: plus(8n) },
  { name: 'LUO: sessions beyond memory', at: ({ luo }) => luo + 16, word: set(BEYOND) },
  { name: 'LUO: no FLBs', at: ({ luo }) => luo + 24, word: set(0n) },
  { name: 'LUO: FLBs beyond memory', at: ({ luo }) => luo + 24, word: set(BEYOND) },
  {
    name: 'sessions: the block leads to itself',
    at: ({ sessions }) => sessions,
    word: (_, { sessions }) => BigInt(sessions),
  },
  { name: 'sessions: a next block beyond memory', at: ({ sessions }) => sessions, word: set(BEYOND) },
  { name: 'sessions: none in the block', at: ({ sessions }) => sessions + 8, word: set(0n) },
  { name: 'sessions: one less', at: ({ sessions }) => sessions + 8, word: plus(-1n) },
  { name: 'sessions: more than a block has', at: ({ sessions }) => sessions + 8, word: set(52n) },
  {
    name: 'session: a name without its end',
    at: ({ sessions }) => sessions + 16,
    word: set(0x4141_4141_4141_4141n),
  },
  { name: 'session: a name that is empty', at: ({ sessions }) => sessions + 16, word: set(0n) },
  { name: 'session: no files', at: ({ sessions }) => sessions + 16 + 64, word: set(0n) },
  { name: 'session: files beyond memory', at: ({ sessions }) => sessions + 16 + 64, word: set(BEYOND) },
  { name: 'session: fewer files than there are', at: ({ sessions }) => sessions + 16 + 72, word: plus(-1n) },
  { name: 'session: more files than there are', at: ({ sessions }) => sessions + 16 + 72, word: plus(1n) },
  {
    name: 'session: the files of another',
    at: ({ sessions }) => sessions + 16 + SESSION + 64,
    word: (_, { files }) => BigInt(files),
  },
  {
    name: 'files: the block leads to itself',
    at: ({ files }) => files,
    word: (_, { files }) => BigInt(files),
  },
  { name: 'files: none in the block', at: ({ files }) => files + 8, word: set(0n) },
  { name: 'files: more than a block has', at: ({ files }) => files + 8, word: set(64n) },
  { name: 'file: memfd-v9', at: ({ file }) => file, word: set(0x3976_2d64_666d_656dn) },
  { name: 'file: of no kind', at: ({ file }) => file, word: set(0n) },
  { name: 'file: no data', at: ({ file }) => file + 48, word: set(0n) },
  { name: 'file: data beyond memory', at: ({ file }) => file + 48, word: set(BEYOND) },
  {
    name: 'file: the token of the one before',
    at: ({ file }) => file + 56,
    word: (_, { file }) => BigInt(file - FILE),
  },
  { name: 'memfd: a position beyond the file', at: ({ memfd }) => memfd, word: set(1n << 40n) },
  { name: 'memfd: a position below 0', at: ({ memfd }) => memfd, word: set((1n << 64n) - 1n) },
  { name: 'memfd: a larger size', at: ({ memfd }) => memfd + 8, word: plus(1n << 20n) },
  { name: 'memfd: a size that none can have', at: ({ memfd }) => memfd + 8, word: set((1n << 63n) + 5n) },
  { name: 'memfd: unknown seals', at: ({ memfd }) => memfd + 16, word: low(0x8000n) },
  { name: 'memfd: flags', at: ({ memfd }) => memfd + 16, word: high(1n) },
  { name: 'memfd: fewer folios', at: ({ memfd }) => memfd + 24, word: plus(-1n) },
  { name: 'memfd: more folios', at: ({ memfd }) => memfd + 24, word: plus(1n) },
  { name: 'memfd: as many folios as can be', at: ({ memfd }) => memfd + 24, word: set(1n << 60n) },
  { name: 'vmalloc: no first chunk', at: ({ memfd }) => memfd + 32, word: set(0n) },
  { name: 'vmalloc: a first chunk beyond memory', at: ({ memfd }) => memfd + 32, word: set(BEYOND) },
  { name: 'vmalloc: more pages than it has', at: ({ memfd }) => memfd + 40, word: plus(1n) },
  { name: 'vmalloc: unknown flags', at: ({ memfd }) => memfd + 40, word: plus(0x80n << 32n) },
  { name: 'chunk: leads to itself', at: ({ chunk }) => chunk, word: (_, { chunk }) => BigInt(chunk) },
  {
    name: 'chunk: a page that is not preserved',
    at: ({ chunk }) => chunk + 8,
    word: plus(BigInt(16 * 2 ** 20)),
  },
  { name: 'chunk: a page beyond memory', at: ({ chunk }) => chunk + 8, word: set(BEYOND) },
  {
    name: 'folio: beyond memory',
    at: ({ folios }) => folios,
    word: (before) => (before & ~0xf_ffff_ffff_ffffn) | (1n << 30n),
  },
  { name: 'folio: that is not preserved', at: ({ folios }) => folios, word: plus(BigInt(16 * 2 ** 8)) },
  { name: 'folio: of another file too', at: ({ folios }) => folios, word: plus(1n) },
  { name: 'folio: none', at: ({ folios }) => folios, word: (before) => before & ~0xf_ffff_ffff_ffffn },
  { name: 'folio: not up to date', at: ({ folios }) => folios, word: (before) => before & ~(2n << 52n) },
  { name: 'folio: unknown flags', at: ({ folios }) => folios, word: (before) => before | (1n << 60n) },
  { name: 'folio: beyond the file', at: ({ folios }) => folios + 8, word: set(1n << 30n) },
  { name: 'folio: at the place of another', at: ({ folios }) => folios + 8, word: set(1n) },
  { name: 'FLBs: of more pages than one', at: ({ flbs }) => flbs, word: set(2n) },
  { name: 'FLBs: more than a page has', at: ({ flbs }) => flbs + 8, word: set(64n) },
  { name: 'FLBs: none', at: ({ flbs }) => flbs + 8, word: set(0n) },
  { name: 'FLB: an unknown name', at: ({ flbs }) => flbs + 16, word: set(0x7878_7878_7878_7878n) },
  { name: 'FLB: a count of 0', at: ({ flbs }) => flbs + 16 + 56, word: set(0n) },
  { name: 'FLB: a count that is one more', at: ({ flbs }) => flbs + 16 + 56, word: plus(1n) },
];

/** Finds the structures of a handover that is whole. */
export function placesOf({ ram, entry }: Pick<MadeHandover, 'ram' | 'entry'>): Places {
  const u64 = (pa: number): number => Number(new DataView(page(pa)).getBigUint64(pa % 4096, true));
  const page = (pa: number): ArrayBuffer => ram.bytes(pa - (pa % 4096), 4096).slice().buffer;
  const handover = readHandover(ram, entry);
  const tree = Buffer.from(page(entry.fdtAddr));
  const root = handover.preservedMap;
  const rootBytes = Buffer.alloc(8);
  rootBytes.writeBigUInt64LE(BigInt(root));
  const luo = handover.subtrees.get('LUO')?.pa ?? 0;
  const sessions = u64(luo + 16);
  const files = u64(sessions + 16 + 64);
  const file = files + 16 + FILE;
  const memfd = u64(file + 48);
  const chunk = u64(memfd + 32);
  return {
    tree: entry.fdtAddr,
    version: entry.fdtAddr + tree.indexOf('kho-v4'),
    rootProperty: entry.fdtAddr + valueIn(tree, rootBytes),
    root,
    leaf: leafOf(u64, root),
    scratch: entry.scratchAddr,
    luo,
    sessions,
    flbs: u64(luo + 24),
    files,
    file,
    memfd,
    chunk,
    folios: u64(chunk + 8),
  };
}

/** Where a property's value is: values begin at multiples of 4, behind the header. */
function valueIn(tree: Buffer, value: Buffer): number {
  let at = TREE_HEADER;
  while (tree.compare(value, 0, value.length, at, at + value.length) !== 0) at += 4;
  return at;
}

/** The first word of the leaf of order 0 that has a bit: bit 52 of the key, then the page. */
function leafOf(u64: (pa: number) => number, root: number): number {
  let node = u64(root + 8 * 2); // bit 52 is the second of the nine of level 5
  for (let level = 4; level > 0; level--) {
    let slot = 0;
    while (u64(node + 8 * slot) === 0) slot += 1;
    node = u64(node + 8 * slot);
  }
  let word = 0;
  while (u64(node + 8 * word) === 0) word += 1;
  return node + 8 * word;
}

/** Writes a word of the memory file, and gives what takes it back. */
export function harm({ memory }: BootImage, { at, word }: Damage, places: Places): () => void {
  const pa = at(places);
  const file = fs.openSync(memory, 'r+');
  const before = Buffer.alloc(8);
  fs.readSync(file, before, 0, 8, pa);
  const after = Buffer.alloc(8);
  after.writeBigUInt64LE(word(before.readBigUInt64LE(), places));
  fs.writeSync(file, after, 0, 8, pa);
  return () => {
    fs.writeSync(file, before, 0, 8, pa);
    fs.closeSync(file);
  };
}

/**
 * What a real Linux makes of the image. It panics where it does so twice: on a busy host an
 * emulated machine may panic for reasons of its own.
 */
export async function judgedByLinux(
  image: BootImage,
  sessions: MadeHandover['sessions'],
): Promise<Judgement> {
  const judged = await judgedOnce(image, sessions);
  return judged.boot === 'panic' ? judgedOnce(image, sessions) : judged;
}

async function judgedOnce(image: BootImage, sessions: MadeHandover['sessions']): Promise<Judgement> {
  // What goes wrong before there is a console is told, too.
  await using guest = await Guest.start({ program: JUDGE, image, append: 'earlyprintk=ttyS0,115200' });
  fs.writeFileSync(`${guest.share}/expected.json`, JSON.stringify(sessions));
  try {
    await guest.until('judged', PATIENCE);
  } catch (error) {
    if (guest.hasPanicked) return { boot: 'panic', panic: guest.panic, sessions: {} };
    // Its first page fault is before it can say so.
    if (!guest.serial.includes('Linux version')) return { boot: 'hang', sessions: {} };
    throw error;
  }
  const { open, sessions: found } = JSON.parse(
    fs.readFileSync(`${guest.share}/judgement.json`, 'utf8'),
  ) as Judgement;
  if (guest.hasPanicked) return { boot: 'panic', panic: guest.panic, sessions: {} };
  const isCold = !guest.serial.includes('KHO: found kexec handover data');
  return { boot: isCold ? 'cold' : 'handover', ...(open !== undefined && { open }), sessions: found };
}

const codeOf = (error: unknown): string => {
  if (error instanceof KernelError) return error.code;
  throw error;
};

/** What our reader makes of the image: the same steps. */
export async function judgedHere({ memory }: BootImage, made: MadeHandover): Promise<Judgement> {
  const file = fs.openSync(memory, 'r');
  try {
    const { size } = fs.fstatSync(file);
    const image = new SparseRam(size, (block, pa) => {
      fs.readSync(file, block, 0, block.length, pa);
    });
    const ram = withMemoryMap(image, pcMemoryMap(size));
    let luo: LiveUpdateOrchestrator;
    try {
      const kho = boot(ram, made.entry, { freeMemory: 'keep' });
      const shmem = new Shmem({ pages: kho.pages });
      const handler = { ...memfdHandler({ kho, shmem }), flbs: testFlbs() };
      luo = new LiveUpdateOrchestrator({ kho, handlers: [handler] });
    } catch (error) {
      return { boot: `refused: ${codeOf(error)}`, sessions: {} };
    }
    try {
      luo.readIncoming();
    } catch (error) {
      return { boot: 'handover', open: codeOf(error), sessions: {} };
    }
    const sessions: Judgement['sessions'] = {};
    for (const { name, files } of made.sessions) {
      const found = (sessions[name] = { retrieve: 'ok', files: {} } as Judgement['sessions'][string]);
      try {
        const session = luo.retrieveSession(name);
        for (const { token } of files) {
          try {
            const same = await session.retrieve(BigInt(token), ShmemFile);
            found.files[token] = describe(same, BigInt(token));
          } catch (error) {
            found.files[token] = codeOf(error);
          }
        }
        try {
          await session.finish();
          found.finish = 'ok';
        } catch (error) {
          found.finish = codeOf(error);
        }
      } catch (error) {
        found.retrieve = codeOf(error);
      }
    }
    return { boot: 'handover', sessions };
  } finally {
    fs.closeSync(file);
  }
}

/** What both make of one image, in words, and whether it is the same. */
export interface Verdict {
  readonly linux: string;
  readonly here: string;
  readonly isSame: boolean;
}

/**
 * Compares: an error is an error, whatever its code. Where Linux panics or hangs, it is enough that
 * here something is refused.
 */
export function compare(linux: Judgement, here: Judgement, made: MadeHandover): Verdict {
  const [ofLinux, ofHere] = [essence(linux), essence(here)];
  const isSame =
    linux.boot === 'panic' || linux.boot === 'hang'
      ? JSON.stringify(ofHere).includes('refused')
      : JSON.stringify(ofLinux) === JSON.stringify(ofHere);
  return { linux: inWords(linux, made), here: inWords(here, made), isSame };
}

const isWhole = ({ boot: how, open }: Judgement): boolean => how === 'handover' && open === undefined;

/** What counts of a judgement: which files came back, and as what. */
function essence(of: Judgement): unknown {
  if (!isWhole(of)) return 'refused';
  return Object.entries(of.sessions).map(([name, { retrieve, finish, files }]) => [
    name,
    retrieve === 'ok',
    finish === 'ok',
    Object.entries(files).map(([token, file]) => [token, typeof file === 'string' ? 'refused' : file]),
  ]);
}

function inWords(of: Judgement, { sessions }: MadeHandover): string {
  if (of.boot === 'cold') return 'boots cold';
  if (of.boot === 'panic') return 'panics';
  if (of.boot === 'hang') return 'hangs at once';
  if (of.boot !== 'handover') return `refuses to boot (${of.boot.replace('refused: ', '')})`;
  if (of.open !== undefined) return `reads no session (${of.open})`;
  const wrong = sessions.flatMap(({ name, files }) => {
    const found = of.sessions[name];
    if (found.retrieve !== 'ok') return [`a session is ${found.retrieve}`];
    const odd = files.flatMap((file) => {
      const is = found.files[file.token];
      if (typeof is === 'string') return [is];
      return JSON.stringify(is) === JSON.stringify(file) ? [] : ['another content'];
    });
    const counts = new Map<string, number>();
    for (const each of odd) counts.set(each, (counts.get(each) ?? 0) + 1);
    const said = Array.from(counts, ([what, count]) => `${count} of ${files.length} files: ${what}`);
    return found.finish === 'ok' ? said : [...said, `finish: ${String(found.finish)}`];
  });
  return wrong.length === 0 ? 'gives everything' : wrong.join(', ');
}
