/**
 * A kdump-compressed image. A page is found by counting the bits of the bitmap before it; the
 * counts are kept for each block of 4 MiB, and the bitmap and the descriptors are read again when
 * they are needed.
 */
import { KernelError, MAX_FOLIO_SIZE, PAGE_SIZE, popCount, readU64, StructView } from '@liveupdate/base';
import { checkRamSize, MAX_RAM_SIZE, SparseRam, type RamPiece } from '@liveupdate/mm';
import type { ReadableBytes } from './elf-core-ram.ts';
import { Damage } from './damage.ts';
import {
  KdumpHeader,
  KdumpSubHeader,
  PACKED_LZO,
  PageDescriptor,
  STATUS_INCOMPLETE,
  WIDE_VERSION,
} from './kdump-layout.ts';
import type { MemoryImage } from './image.ts';
import { noLzo, unpackPage } from './unpack-page.ts';
import { WindowRam } from './window-ram.ts';

const SIGNATURE = Buffer.from('KDUMP   ');
/** Pages of a block that is read at once, and bytes of the bitmap for them. */
const BLOCK_PAGES = MAX_FOLIO_SIZE / PAGE_SIZE;
const BLOCK_BITMAP = BLOCK_PAGES / 8;
/** Bytes of the bitmap that are counted at once. */
const STRIDE = 2 ** 20;
/** Contents of pages that are read at once, at most; others are read page by page. */
const MOST_AT_ONCE = 2 * MAX_FOLIO_SIZE;

export function isKdump(head: Uint8Array): boolean {
  return SIGNATURE.equals(head.subarray(0, SIGNATURE.length));
}

/** What the headers say, checked against the file. */
interface Places {
  readonly release: string;
  /** Pages that the bitmap is about. */
  readonly pages: number;
  /** Where the second bitmap begins in the file. */
  readonly bitmap: number;
  readonly descriptors: number;
  /** Pages that this file has, where it is a part of a dump. */
  readonly first: number;
  readonly end: number;
}

/**
 * @param before damage that was found already
 * @throws KernelError EINVAL: the headers cannot be read. EOPNOTSUPP: compressed with lzo
 */
export function openKdump(file: ReadableBytes, before: readonly KernelError[]): MemoryImage {
  const damage = new Damage();
  for (const each of before) damage.tell(each);
  const places = readPlaces(file, damage);
  const ranks = countPages(file, places);
  const covered = places.pages * PAGE_SIZE;
  return {
    kind: 'kdump',
    covered,
    pieces: piecesOf(ranks, covered),
    release: places.release === '' ? undefined : places.release,
    damage: damage.all,
    ram: (size = covered) => {
      checkRamSize(size);
      return new WindowRam(
        () =>
          new SparseRam(size, (block, pa) => {
            loadBlock(file, places, ranks, block, pa, damage);
          }),
      );
    },
  };
}

function readPlaces(file: ReadableBytes, damage: Damage): Places {
  const header = new StructView(new Uint8Array(KdumpHeader.SIZE));
  file.read(header.bytes, 0);
  const blockSize = header.getU32(KdumpHeader.blockSize);
  if (blockSize !== PAGE_SIZE)
    throw new KernelError('EINVAL', `a kdump of blocks of ${blockSize} bytes: this reads ${PAGE_SIZE}`);
  const status = header.getU32(KdumpHeader.status);
  if ((status & PACKED_LZO) !== 0) throw noLzo();
  if ((status & STATUS_INCOMPLETE) !== 0)
    damage.say('the kdump is incomplete: its writer had no room for all pages');
  const sub = new StructView(new Uint8Array(KdumpSubHeader.SIZE));
  file.read(sub.bytes, blockSize);
  const isWide = header.getU32(KdumpHeader.version) >= WIDE_VERSION;
  const claimed = isWide ? sub.getNumber(KdumpSubHeader.maxPages) : header.getU32(KdumpHeader.maxPages);
  const subBlocks = header.getU32(KdumpHeader.subHeaderBlocks);
  const bitmapBytes = header.getU32(KdumpHeader.bitmapBlocks) * blockSize;
  const bitmaps = (1 + subBlocks) * blockSize;
  // The first bitmap is of all memory, the second of what is in the file.
  const bitmap = bitmaps + bitmapBytes / 2;
  const there = Math.max(0, Math.min(bitmapBytes / 2, file.size - bitmap));
  const pages = Math.min(claimed, there * 8, MAX_RAM_SIZE / PAGE_SIZE);
  if (pages === 0) throw new KernelError('EINVAL', 'this kdump has no page: it is damaged, or cut short');
  if (pages < claimed)
    damage.say(`the kdump claims ${claimed} pages and its bitmap has ${pages}: the rest is left out`);
  const isPart = sub.getU32(KdumpSubHeader.split) === 1;
  const [from, to] = isWide
    ? [KdumpSubHeader.firstPage, KdumpSubHeader.endPage]
    : [KdumpSubHeader.oldFirstPage, KdumpSubHeader.oldEndPage];
  if (isPart) damage.say('this is one part of a dump that was split: memory of the other parts is missing');
  return {
    release: header.getString(KdumpHeader.release),
    pages,
    bitmap,
    descriptors: bitmaps + bitmapBytes,
    first: isPart ? sub.getNumber(from) : 0,
    end: isPart ? sub.getNumber(to) : Infinity,
  };
}

/** The bitmap of some pages, the bits left out that are of pages of other parts. */
function readBitmap(file: ReadableBytes, places: Places, page: number, into: Uint8Array): void {
  file.read(into, places.bitmap + page / 8);
  const { pages, first, end } = places;
  if (page >= first && page + into.length * 8 <= Math.min(pages, end)) return;
  for (let i = 0; i < into.length * 8; i++) {
    const at = page + i;
    if (at < first || at >= end || at >= pages) into[i >> 3] &= ~(1 << (i & 7));
  }
}

/** Pages in the file before each block of 4 MiB, and behind them all. */
function countPages(file: ReadableBytes, places: Places): Float64Array {
  const blocks = Math.ceil(places.pages / BLOCK_PAGES);
  const ranks = new Float64Array(blocks + 1);
  let count = 0;
  for (let block = 0; block < blocks;) {
    const bytes = new Uint8Array(Math.min(STRIDE, (blocks - block) * BLOCK_BITMAP));
    readBitmap(file, places, block * BLOCK_PAGES, bytes);
    const words = new Uint32Array(bytes.buffer);
    for (let at = 0; at < words.length;) {
      ranks[block++] = count;
      for (const end = at + BLOCK_BITMAP / 4; at < end; at++)
        if (words[at] !== 0) count += popCount(words[at]);
    }
  }
  ranks[blocks] = count;
  return ranks;
}

/** Memory to the granularity of a block. */
function piecesOf(ranks: Float64Array, covered: number): RamPiece[] {
  const pieces: RamPiece[] = [];
  for (let block = 0; block + 1 < ranks.length; block++) {
    if (ranks[block] === ranks[block + 1]) continue;
    const pa = block * MAX_FOLIO_SIZE;
    const length = Math.min(MAX_FOLIO_SIZE, covered - pa);
    const last = pieces.at(-1);
    if (last && last.pa + last.length === pa)
      pieces[pieces.length - 1] = { pa: last.pa, length: last.length + length };
    else pieces.push({ pa, length });
  }
  return pieces;
}

/** Fills a block, which is zero, with the pages that the file has. */
function loadBlock(
  file: ReadableBytes,
  places: Places,
  ranks: Float64Array,
  block: Uint8Array,
  pa: number,
  damage: Damage,
): void {
  const which = pa / MAX_FOLIO_SIZE;
  if (which + 1 >= ranks.length) return;
  const count = ranks[which + 1] - ranks[which];
  if (count === 0) return;
  const bitmap = new Uint8Array(BLOCK_BITMAP);
  readBitmap(file, places, which * BLOCK_PAGES, bitmap);
  const table = new Uint8Array(count * PageDescriptor.SIZE);
  file.read(table, places.descriptors + ranks[which] * PageDescriptor.SIZE);
  const view = new DataView(table.buffer);
  const contents = readContents(file, view, count);
  let lastOffset = -1; // pages that are the same share their bytes: nearly always those of zeros
  let lastAt = 0;
  let n = 0;
  for (let i = 0; i < BLOCK_PAGES && n < count; i++) {
    if ((bitmap[i >> 3] & (1 << (i & 7))) === 0) continue;
    const at = n++ * PageDescriptor.SIZE;
    const offset = readU64(view, at + PageDescriptor.offset.at);
    if (offset === lastOffset) {
      block.copyWithin(i * PAGE_SIZE, lastAt, lastAt + PAGE_SIZE);
      continue;
    }
    const size = view.getUint32(at + PageDescriptor.size.at, true);
    const flags = view.getUint32(at + PageDescriptor.flags.at, true);
    try {
      if (size === 0 || size > PAGE_SIZE || Number.isNaN(offset) || offset + size > file.size)
        throw new KernelError(
          'EINVAL',
          `its ${size} bytes are not in the file, which is damaged or cut short`,
        );
      block.set(unpackPage(contents(offset, size), flags), i * PAGE_SIZE);
      lastOffset = offset;
      lastAt = i * PAGE_SIZE;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      damage.say(`the page at 0x${(pa + i * PAGE_SIZE).toString(16)} cannot be read: ${reasonOf(error)}`);
    }
  }
}

function reasonOf({ message, code }: KernelError): string {
  return message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message;
}

/** Gives contents of pages, which are read together where they lie together. */
function readContents(
  file: ReadableBytes,
  view: DataView,
  count: number,
): (offset: number, size: number) => Uint8Array {
  const offsets = new Float64Array(count).fill(-1);
  let end = 0;
  for (let i = 0; i < count; i++) {
    const offset = readU64(view, i * PageDescriptor.SIZE + PageDescriptor.offset.at);
    const size = view.getUint32(i * PageDescriptor.SIZE + PageDescriptor.size.at, true);
    if (!(offset + size <= file.size) || size > PAGE_SIZE) continue;
    offsets[i] = offset;
    end = Math.max(end, offset + size);
  }
  // The page of zeros lies before all others, and is read alone.
  let first = end;
  for (const offset of offsets) if (offset >= end - MOST_AT_ONCE && offset < first) first = offset;
  const together = new Uint8Array(Math.max(0, end - Math.max(0, first)));
  first = Math.max(0, first);
  file.read(together, first);
  return (offset, size) => {
    if (offset >= first && offset + size <= end)
      return together.subarray(offset - first, offset - first + size);
    const alone = new Uint8Array(size);
    file.read(alone, offset);
    return alone;
  };
}
