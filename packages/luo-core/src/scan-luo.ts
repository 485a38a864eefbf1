/**
 * Recognises the records of LUO in pages of memory that nothing leads to any more: for tools that
 * look at a kernel which has read them, and has given the page back that named them. A page is
 * taken for a record only where every byte of it can be one.
 */
import {
  checkInstance,
  checkObject,
  checkWhole,
  KernelError,
  PAGE_SIZE,
  StructView,
  type PhysAddr,
} from '@liveupdate/base';
import { BLOCK_HEADER_SIZE, type Subtree } from '@liveupdate/kho';
import { checkRam, type Ram } from '@liveupdate/mm';
import { LuoFileSer, LuoFlbHeaderSer, LuoFlbSer, LuoSer, LuoSessionSer, MAX_FLBS } from './abi.ts';
import type { FileRecord, FlbRecord } from './read-luo.ts';

/** A session as its block tells it. */
export interface SessionPlace {
  readonly name: string;
  /** Its first block of files; 0: it has none. */
  readonly files: PhysAddr;
  /** Files that it has. */
  readonly count: number;
}

/** A page of a block set. */
export interface FoundBlock<T> {
  /** The block behind it; 0: it is the last. */
  readonly next: PhysAddr;
  readonly entries: readonly T[];
}

/** What the LUO record itself says. */
export interface LuoHead {
  /** Of another version where it is no `'luo-v5'`; memory that was given away has anything. */
  readonly compatible: string;
  readonly liveupdateNumber: bigint;
  /** 0: none, or not written yet: a kernel writes its sessions when it hands over. */
  readonly sessions: PhysAddr;
  readonly flbs: PhysAddr;
}

const LIMIT = 2 ** 52;
const HEADER = { next: { at: 0, bytes: 8 }, count: { at: 8, bytes: 8 } };

/**
 * The LUO record that a device tree names, whatever is in it now.
 *
 * @throws KernelError EINVAL: no RAM or subtree, or too small a record. EFAULT: outside RAM.
 * EOVERFLOW: a field is beyond 2^53
 */
export function readLuoHead(ram: Ram, subtree: Subtree): LuoHead {
  checkRam(ram);
  const { pa, size } = checkObject(subtree, 'a subtree');
  checkWhole(pa, 'an address of a record');
  checkWhole(size, 'bytes of a record');
  if (size < LuoSer.SIZE)
    throw new KernelError('EINVAL', `the LUO record has ${size} bytes, ${LuoSer.SIZE} expected`);
  const ser = new StructView(ram.bytes(pa, LuoSer.SIZE));
  return {
    compatible: ser.getString(LuoSer.compatible),
    liveupdateNumber: ser.getU64(LuoSer.liveupdateNumber),
    sessions: ser.getNumber(LuoSer.sessions),
    flbs: ser.getNumber(LuoSer.flbs),
  };
}

/** Whether a field is text: at least a character, none of them a control, and zeros behind it. */
function isText(bytes: Uint8Array, from: number, length: number): boolean {
  let at = from;
  const end = from + length;
  while (at < end && bytes[at] >= 0x20 && bytes[at] !== 0x7f) at += 1;
  if (at === from || at === end) return false;
  while (at < end && bytes[at] === 0) at += 1;
  return at === end;
}

function isPage(pa: number): boolean {
  return pa % PAGE_SIZE === 0 && pa < LIMIT;
}

/** Entries of a page that can be a block of them; undefined where it is something else. */
function blockOf<T>(
  page: Uint8Array,
  size: number,
  nameBytes: number,
  read: (entry: StructView) => T | undefined,
): FoundBlock<T> | undefined {
  checkInstance(page, 'a page', Uint8Array);
  if (page.length !== PAGE_SIZE) throw new KernelError('EINVAL', `a page has ${PAGE_SIZE} bytes`);
  const view = new StructView(page);
  const words = view.view;
  const capacity = Math.floor((PAGE_SIZE - BLOCK_HEADER_SIZE) / size);
  const count = words.getUint32(8, true);
  if (words.getUint32(12, true) !== 0 || count === 0 || count > capacity) return undefined;
  if (words.getUint32(4, true) >= LIMIT / 2 ** 32) return undefined;
  const next = view.getNumber(HEADER.next);
  if (!isPage(next)) return undefined;
  const entries: T[] = [];
  for (let i = 0; i < count; i++) {
    const at = BLOCK_HEADER_SIZE + i * size;
    if (!isText(page, at, nameBytes)) return undefined;
    const entry = read(new StructView(page.subarray(at, at + size)));
    if (entry === undefined) return undefined;
    entries.push(entry);
  }
  return { next, entries };
}

/**
 * The sessions of a page that is a block of them; undefined where it is something else.
 *
 * @throws KernelError EINVAL: not the bytes of a page
 */
export function findSessionBlock(page: Uint8Array): FoundBlock<SessionPlace> | undefined {
  return blockOf(page, LuoSessionSer.SIZE, LuoSessionSer.name.bytes, (entry) => {
    const [files, count] = [entry.getU64(LuoSessionSer.files), entry.getU64(LuoSessionSer.count)];
    if (files >= LIMIT || count >= LIMIT || (files === 0n) !== (count === 0n)) return undefined;
    if (!isPage(Number(files))) return undefined;
    return { name: entry.getString(LuoSessionSer.name), files: Number(files), count: Number(count) };
  });
}

/** The same for a block of files. @throws KernelError EINVAL: not the bytes of a page */
export function findFileBlock(page: Uint8Array): FoundBlock<FileRecord> | undefined {
  return blockOf(page, LuoFileSer.SIZE, LuoFileSer.compatible.bytes, (entry) => ({
    compatible: entry.getString(LuoFileSer.compatible),
    data: entry.getU64(LuoFileSer.data),
    token: entry.getU64(LuoFileSer.token),
  }));
}

/** The same for the page of FLBs. @throws KernelError EINVAL: not the bytes of a page */
export function findFlbs(page: Uint8Array): readonly FlbRecord[] | undefined {
  checkInstance(page, 'a page', Uint8Array);
  if (page.length !== PAGE_SIZE) throw new KernelError('EINVAL', `a page has ${PAGE_SIZE} bytes`);
  const header = new StructView(page.subarray(0, LuoFlbHeaderSer.SIZE));
  const count = header.getU64(LuoFlbHeaderSer.count);
  if (header.getU64(LuoFlbHeaderSer.pageCount) !== 1n || count === 0n || count > BigInt(MAX_FLBS))
    return undefined;
  const flbs: FlbRecord[] = [];
  for (let i = 0; i < Number(count); i++) {
    const at = LuoFlbHeaderSer.SIZE + i * LuoFlbSer.SIZE;
    if (!isText(page, at, LuoFlbSer.name.bytes)) return undefined;
    const entry = new StructView(page.subarray(at, at + LuoFlbSer.SIZE));
    flbs.push({
      name: entry.getString(LuoFlbSer.name),
      data: entry.getU64(LuoFlbSer.data),
      count: entry.getU64(LuoFlbSer.count),
    });
  }
  return flbs;
}
