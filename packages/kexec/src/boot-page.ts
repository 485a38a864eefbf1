/**
 * The boot page: page 0 of a RAM file, which says whose it is and in what state the last generation left it.
 *
 * Always: two copies, written in turn. A copy counts where its checksum is right; of two, the one written later. So a process may die in the
 * middle of a write, and the state before it stands.
 */
import { KernelError, layout, StructView } from '@liveupdate/base';
import { readEntry, writeEntry, type EntryRecord } from '@liveupdate/kho';
import type { Ram } from '@liveupdate/mm';
import { crc32 } from './crc32.ts';

const MAGIC = 'LIVEUPDATE-RAM';
/** Version of this layout. */
export const BOOT_PAGE_VERSION = 1;

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
  reserved: { at: 100, bytes: 24 },
  checksum: { at: 124, bytes: 4 }, // CRC-32 of the bytes before it
});

/** Where the copies lie in page 0. */
const COPIES = [0, 2048] as const;

const STATES = ['empty', 'running', 'handed-over'] as const;

export interface BootPage {
  /** `'running'`: owned, or its owner died. `'handed-over'`: `entry` leads to what it left. `'empty'`: nothing is to be kept. */
  readonly state: (typeof STATES)[number];
  readonly ramSize: number;
  /** 1 for the first owner. */
  readonly generation: number;
  readonly entry: EntryRecord;
  /** When the handover began: nanoseconds of CLOCK_MONOTONIC; 0 before the first. */
  readonly kexecStart: bigint;
  /** When its freeze began, and with it the time in which nothing was served; on the same clock. */
  readonly kexecFrozen: bigint;
  readonly ownerPid: number;
}

/** The RAM belongs to another program, or another version of this one. */
function foreign(message: string): KernelError {
  return new KernelError('EINVAL', message);
}

function copies(ram: Ram): StructView[] {
  return COPIES.map((at) => new StructView(ram.bytes(at, BootPageSer.SIZE)));
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

function latest(ram: Ram): StructView | undefined {
  return copies(ram)
    .filter(isIntact)
    .sort((a, b) => Number(b.getU64(BootPageSer.sequence) - a.getU64(BootPageSer.sequence)))[0];
}

/**
 * What the boot page says.
 *
 * @throws KernelError EINVAL: not a RAM of liveupdate, of another layout version, damaged, or cut short
 */
export function readBootPage(ram: Ram): BootPage {
  const marked = copies(ram).filter(isMagic);
  if (marked.length === 0)
    throw foreign('this is no RAM of liveupdate: it has no boot page; give another name');
  // Magic and version stay where they are in every layout; what else a copy needs to be intact may change.
  const version = marked[0].getU32(BootPageSer.version);
  if (version !== BOOT_PAGE_VERSION) {
    throw foreign(
      `this RAM has layout version ${version}, this program knows ${BOOT_PAGE_VERSION}: open it with the program that made it`,
    );
  }
  const copy = latest(ram);
  const state = copy && STATES.at(copy.getU32(BootPageSer.state));
  if (!copy || !state)
    throw foreign(
      'the boot page of this RAM is damaged in both copies: what it held cannot be found; remove the file to start anew',
    );
  const ramSize = copy.getNumber(BootPageSer.ramSize);
  if (ramSize !== ram.size)
    throw foreign(
      `this RAM was made with ${ramSize} bytes and has ${ram.size}: the file was cut or grown, restore its size first`,
    );
  return {
    state,
    ramSize,
    generation: copy.getNumber(BootPageSer.generation),
    entry: readEntry(copy.slice(BootPageSer.entry)),
    kexecStart: copy.getU64(BootPageSer.kexecStart),
    kexecFrozen: copy.getU64(BootPageSer.kexecFrozen),
    ownerPid: copy.getU32(BootPageSer.ownerPid),
  };
}

/** Whether the first page of a file is that of a RAM of liveupdate, of whatever version and in whatever shape. */
export function hasBootPage(firstPage: Uint8Array): boolean {
  return COPIES.some((at) => isMagic(new StructView(firstPage.subarray(at, at + BootPageSer.SIZE))));
}

/** Whether page 0 is all zero: a RAM that nobody wrote yet. */
export function isBlank(ram: Ram): boolean {
  return ram.bytes(0, 4096).every((byte) => byte === 0);
}

/** Writes the copy that is not the latest, its checksum last. */
export function writeBootPage(ram: Ram, page: BootPage): void {
  const before = latest(ram);
  const sequence = (before?.getU64(BootPageSer.sequence) ?? 0n) + 1n;
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
  draft.setU32(BootPageSer.checksum, crc32(draft.bytes.subarray(0, BootPageSer.checksum.at)));
  const target = new StructView(ram.bytes(at, BootPageSer.SIZE));
  target.setU32(BootPageSer.checksum, 0);
  target.bytes.set(draft.bytes.subarray(0, BootPageSer.checksum.at));
  target.setU32(BootPageSer.checksum, draft.getU32(BootPageSer.checksum));
}
