/**
 * The boot page: page 0 of a RAM file, which says whose it is and in what state the last generation
 * left it.
 *
 * Always: two copies, written in turn. A copy counts where its checksum is right; of two, the one
 * written later. So a process may die in the middle of a write, and the state before it stands.
 */
import {
  bytesOf,
  checkWhole,
  KernelError,
  layout,
  PAGE_SIZE,
  StructView,
  type Bytes,
} from '@liveupdate/base';
import { readEntry, writeEntry, type EntryRecord } from '@liveupdate/kho';
import { MAX_RAM_SIZE, type Ram } from '@liveupdate/mm';
import { crc32 } from './crc32.ts';

const MAGIC = 'LIVEUPDATE-RAM';
/** Version of this layout. */
export const BOOT_PAGE_VERSION = 2;

const BootPageSer = layout('boot_page', 128, {
  magic: { at: 0, bytes: 16 },
  version: { at: 16, bytes: 4 },
  state: { at: 20, bytes: 4 },
  ramSize: { at: 24, bytes: 8 },
  generation: { at: 32, bytes: 8 },
  sequence: { at: 40, bytes: 8 }, // grows with each write
  entry: { at: 48, bytes: 32 },
  kexecStart: { at: 80, bytes: 8 }, // CLOCK_MONOTONIC, ns
  ownerPid: { at: 88, bytes: 4 },
  kexecFrozen: { at: 92, bytes: 8 }, // CLOCK_MONOTONIC, ns
  live: { at: 100, bytes: 8 }, // pa of the live record
  liveChange: { at: 108, bytes: 4 }, // the last change in it that counts; 0: as it says itself
  ended: { at: 112, bytes: 4 }, // how the owner ended, where it could say so
  endedAt: { at: 116, bytes: 8 }, // ms since 1970
  checksum: { at: 124, bytes: 4 }, // CRC-32 of the bytes before it
});

/** An entry that leads nowhere. */
export const NO_ENTRY = { fdtAddr: 0, fdtSize: 0, scratchAddr: 0, scratchSize: 0 };

/** Where the copies lie in page 0. */
const COPIES = [0, 2048] as const;

const STATES = ['empty', 'running', 'handed-over'] as const;

/** How an owner ended that could not hand over, and could say so. */
const ENDS = [undefined, 'exit', 'exception'] as const;

export interface BootPage {
  /**
   * `'running'`: owned, or its owner died; `live` leads to what it had preserved. `'handed-over'`:
   * `entry` leads to what it left.
   * `'empty'`: nothing is to be kept.
   */
  readonly state: (typeof STATES)[number];
  /**
   * Bytes that the last owner had; the file has more where the one after it was about to enlarge
   * it.
   */
  readonly ramSize: number;
  /** 1 for the first owner; 0 in an empty RAM that nobody owned for good. */
  readonly generation: number;
  readonly entry: EntryRecord;
  /** When the handover began: nanoseconds of CLOCK_MONOTONIC; 0 before the first. */
  readonly kexecStart: bigint;
  /** When its freeze began, and with it the time in which nothing was served; on the same clock. */
  readonly kexecFrozen: bigint;
  readonly ownerPid: number;
  /** Where the live record begins; 0 in an empty RAM. */
  readonly live: number;
  /** The last change in it that counts, where this is a handover; 0: it says so itself. */
  readonly liveChange: number;
  /**
   * How the owner ended: by process.exit() or its like, or by an exception; undefined: not known.
   */
  readonly ended: (typeof ENDS)[number];
  /** When that was: milliseconds since 1970; 0: not known. */
  readonly endedAt: number;
}

/** The RAM belongs to another program, or another version of this one. */
function foreign(message: string): KernelError {
  return new KernelError('EINVAL', message);
}

/** Generations are counted in numbers; the one after the last must be one, too. */
const MOST_GENERATION = Number.MAX_SAFE_INTEGER - 1;
/** PID_MAX_LIMIT of a 64-bit Linux. */
const MOST_PID = 2 ** 22;
/** Writes are counted in 64 bits. */
const MOST_SEQUENCE = 2n ** 64n - 1n;

/** @throws KernelError EINVAL: no bytes, or too few */
function pageOf(firstPage: Bytes): Uint8Array {
  const bytes = bytesOf(firstPage);
  if (bytes.length >= PAGE_SIZE) return bytes;
  throw foreign(`${bytes.length} bytes are no boot page: pass ${PAGE_SIZE}`);
}

function copies(firstPage: Uint8Array): { readonly copy: StructView; readonly place: number }[] {
  return COPIES.map((at, place) => ({
    copy: new StructView(firstPage.subarray(at, at + BootPageSer.SIZE)),
    place,
  }));
}

function isMagic(copy: StructView): boolean {
  return copy.getString(BootPageSer.magic) === MAGIC;
}

function isIntact(copy: StructView): boolean {
  return (
    isMagic(copy) &&
    copy.getU32(BootPageSer.checksum) === crc32(copy.bytes.subarray(0, BootPageSer.checksum.at))
  );
}

function latest(firstPage: Uint8Array): { readonly copy: StructView; readonly place: number } | undefined {
  return copies(firstPage)
    .filter(({ copy }) => isIntact(copy))
    .sort((a, b) => Number(sequenceOf(b.copy) - sequenceOf(a.copy)))[0];
}

function sequenceOf(copy: StructView): bigint {
  return copy.getU64(BootPageSer.sequence);
}

/**
 * The first thing that an intact copy says and no owner can have written, with a right checksum or
 * not; undefined where all can be.
 */
function impossible(copy: StructView, place: number, state: BootPage['state']): string | undefined {
  const ramSize = copy.getU64(BootPageSer.ramSize);
  if (ramSize < 2 * PAGE_SIZE || ramSize > MAX_RAM_SIZE || ramSize % BigInt(PAGE_SIZE) !== 0n)
    return `a size of ${ramSize} bytes`;
  const generation = copy.getU64(BootPageSer.generation);
  if (generation > MOST_GENERATION || (generation === 0n && state !== 'empty'))
    return `generation ${generation}, ${state}`;
  const sequence = sequenceOf(copy);
  if (sequence === 0n || sequence >= MOST_SEQUENCE || Number(sequence % 2n) !== place)
    return `${sequence} writes`;
  const pid = copy.getU32(BootPageSer.ownerPid);
  if (pid === 0 || pid > MOST_PID) return `an owner with pid ${pid}`;
  const frozen = copy.getU64(BootPageSer.kexecFrozen);
  if (frozen !== 0n && frozen < copy.getU64(BootPageSer.kexecStart))
    return 'a freeze before its handover began';
  const live = copy.getU64(BootPageSer.live);
  const isPlace = live > 0n && live % BigInt(PAGE_SIZE) === 0n && live < ramSize;
  if (state === 'empty' ? live !== 0n : !isPlace) return `a live record at 0x${live.toString(16)}, ${state}`;
  if (copy.getU32(BootPageSer.ended) >= ENDS.length) return 'an end that nobody knows';
  if (copy.getU64(BootPageSer.endedAt) > BigInt(Number.MAX_SAFE_INTEGER)) return 'an end that is far away';
  return state === 'handed-over' ? impossibleEntry(copy.slice(BootPageSer.entry), ramSize) : undefined;
}

function impossibleEntry(bytes: Uint8Array, ramSize: bigint): string | undefined {
  const [fdtAddr, fdtSize, scratchAddr, scratchSize] = [0, 8, 16, 24].map((at) =>
    new StructView(bytes).getU64({ at, bytes: 8 }),
  );
  const isInside = (addr: bigint, size: bigint): boolean => addr > 0n && size > 0n && addr + size <= ramSize;
  if (!isInside(fdtAddr, fdtSize)) return `a device tree of ${fdtSize} bytes at 0x${fdtAddr.toString(16)}`;
  if (!isInside(scratchAddr, scratchSize))
    return `a scratch array of ${scratchSize} bytes at 0x${scratchAddr.toString(16)}`;
  return undefined;
}

/**
 * What the boot page says.
 *
 * @param firstPage of the file, at least 4096 bytes
 * @param size bytes that the file has: at least as many as its RAM
 * @throws KernelError EINVAL: not a RAM of liveupdate, of another layout version, damaged, with a
 * number that cannot be, or cut short
 */
export function readBootPage(firstPage: Bytes, size: number): BootPage {
  const page = pageOf(firstPage);
  checkWhole(size, 'a size');
  const marked = copies(page).filter(({ copy }) => isMagic(copy));
  if (marked.length === 0)
    throw foreign('this is no RAM of liveupdate: it has no boot page; give another name');
  // Magic and version stay where they are in every layout; what else a copy needs to be intact may
  // change.
  const version = marked[0].copy.getU32(BootPageSer.version);
  if (version !== BOOT_PAGE_VERSION) {
    throw foreign(
      `this RAM has layout version ${version}, this program knows ${BOOT_PAGE_VERSION}: open it with the program that made it`,
    );
  }
  const found = latest(page);
  const state = found && STATES.at(found.copy.getU32(BootPageSer.state));
  if (!found || !state)
    throw foreign(
      'the boot page of this RAM is damaged in both copies: what it held cannot be found; remove the file to start anew',
    );
  const { copy, place } = found;
  const wrong = impossible(copy, place, state);
  if (wrong !== undefined) {
    const what = `the boot page of this RAM tells of ${wrong}, which cannot be`;
    throw foreign(`${what}: it is damaged, and was left as it is; remove the file to start anew`);
  }
  const ramSize = copy.getNumber(BootPageSer.ramSize);
  if (ramSize > size) {
    const what = `this RAM had ${ramSize} bytes and has ${size}: the file was cut short`;
    throw foreign(`${what}, and with it what was in it; remove it to start anew`);
  }
  return {
    state,
    ramSize,
    generation: copy.getNumber(BootPageSer.generation),
    entry: readEntry(copy.slice(BootPageSer.entry)),
    kexecStart: copy.getU64(BootPageSer.kexecStart),
    kexecFrozen: copy.getU64(BootPageSer.kexecFrozen),
    ownerPid: copy.getU32(BootPageSer.ownerPid),
    live: copy.getNumber(BootPageSer.live),
    liveChange: copy.getU32(BootPageSer.liveChange),
    ended: ENDS[copy.getU32(BootPageSer.ended)],
    endedAt: copy.getNumber(BootPageSer.endedAt),
  };
}

/**
 * Whether the first page of a file is that of a RAM of liveupdate, of whatever version and in
 * whatever shape.
 *
 * @throws KernelError EINVAL: fewer than 4096 bytes, or nothing that has bytes
 */
export function hasBootPage(firstPage: Bytes): boolean {
  return copies(pageOf(firstPage)).some(({ copy }) => isMagic(copy));
}

/**
 * What each of the two copies of a boot page is: never written; whole; one that was being written
 * when its writer died, which is as good as not written; or damaged.
 *
 * @throws KernelError EINVAL: fewer than 4096 bytes, or nothing that has bytes
 */
export function bootPageCopies(firstPage: Bytes): readonly ('blank' | 'whole' | 'unfinished' | 'damaged')[] {
  return copies(pageOf(firstPage)).map(({ copy }) => {
    if (isIntact(copy)) return 'whole';
    if (copy.bytes.every((byte) => byte === 0)) return 'blank';
    return copy.getU32(BootPageSer.checksum) === 0 ? 'unfinished' : 'damaged';
  });
}

/** Writes the copy that is not the latest, its checksum last. */
export function writeBootPage(ram: Ram, page: BootPage): void {
  const before = latest(ram.bytes(0, PAGE_SIZE));
  const sequence = (before ? sequenceOf(before.copy) : 0n) + 1n;
  const at = COPIES[Number(sequence % 2n)];
  const draft = new StructView(new Uint8Array(BootPageSer.SIZE));
  draft.setString(BootPageSer.magic, MAGIC);
  draft.setU32(BootPageSer.version, BOOT_PAGE_VERSION);
  draft.setU32(BootPageSer.state, STATES.indexOf(page.state));
  draft.setU64(BootPageSer.ramSize, page.ramSize);
  draft.setU64(BootPageSer.generation, page.generation);
  draft.setU64(BootPageSer.sequence, sequence);
  writeEntry(draft.slice(BootPageSer.entry), page.entry);
  draft.setU64(BootPageSer.kexecStart, page.kexecStart);
  draft.setU64(BootPageSer.kexecFrozen, page.kexecFrozen);
  draft.setU32(BootPageSer.ownerPid, page.ownerPid);
  draft.setU64(BootPageSer.live, page.live);
  draft.setU32(BootPageSer.liveChange, page.liveChange);
  draft.setU32(BootPageSer.ended, ENDS.indexOf(page.ended));
  draft.setU64(BootPageSer.endedAt, page.endedAt);
  draft.setU32(BootPageSer.checksum, crc32(draft.bytes.subarray(0, BootPageSer.checksum.at)));
  const target = new StructView(ram.bytes(at, BootPageSer.SIZE));
  target.setU32(BootPageSer.checksum, 0);
  target.bytes.set(draft.bytes.subarray(0, BootPageSer.checksum.at));
  target.setU32(BootPageSer.checksum, draft.getU32(BootPageSer.checksum));
}
