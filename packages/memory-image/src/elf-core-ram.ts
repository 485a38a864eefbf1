/**
 * A memory image: an ELF core file whose PT_LOAD segments carry physical addresses, as QEMU's
 * dump-guest-memory and kdump write it. Pages that the file leaves out read as zeros. Source:
 * System V ABI, chapter 'Object Files' (ELF64 header, program header).
 */
import {
  assert,
  bytesOf,
  checkFunction,
  checkInstance,
  checkList,
  checkObject,
  checkWhole,
  formatSize,
  KernelError,
  layout,
  PAGE_SIZE,
  StructView,
  type Bytes,
} from '@liveupdate/base';
import { checkRamSize, MAX_RAM_SIZE, SparseRam } from '@liveupdate/mm';

const ElfHeader = layout('Elf64_Ehdr', 64, {
  magic: { at: 0, bytes: 4 }, // 7f 'ELF'
  class: { at: 4, bytes: 1 }, // 2 = 64-bit
  data: { at: 5, bytes: 1 }, // 1 = little-endian
  ident: { at: 6, bytes: 10 },
  type: { at: 16, bytes: 2 }, // 4 = core
  machine: { at: 18, bytes: 2 },
  version: { at: 20, bytes: 4 },
  entry: { at: 24, bytes: 8 },
  phoff: { at: 32, bytes: 8 }, // offset of the program headers
  shoff: { at: 40, bytes: 8 },
  flags: { at: 48, bytes: 4 },
  ehsize: { at: 52, bytes: 2 },
  phentsize: { at: 54, bytes: 2 },
  phnum: { at: 56, bytes: 2 },
  rest: { at: 58, bytes: 6 },
});

const ProgramHeader = layout('Elf64_Phdr', 56, {
  type: { at: 0, bytes: 4 },
  flags: { at: 4, bytes: 4 },
  offset: { at: 8, bytes: 8 }, // in the file
  vaddr: { at: 16, bytes: 8 },
  paddr: { at: 24, bytes: 8 }, // physical address
  filesz: { at: 32, bytes: 8 },
  memsz: { at: 40, bytes: 8 },
  align: { at: 48, bytes: 8 },
});

const PT_LOAD = 1;
const ET_CORE = 4;
/**
 * Whether a file begins as an ELF file does.
 *
 * @throws KernelError EINVAL: nothing that has bytes
 */
export function isElf(file: Bytes): boolean {
  return beginsAsElf(bytesOf(file));
}

function beginsAsElf(file: Uint8Array): boolean {
  return file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/** A piece of memory that an ELF core has. */
export interface ElfSegment {
  /** Physical address of its first byte. */
  readonly pa: number;
  /** Where its bytes begin in the file. */
  readonly offset: number;
  /** Bytes in the file. */
  readonly length: number;
}

/** What the headers of an ELF core say. */
export interface ElfCore {
  /** By address, without overlap. */
  readonly segments: readonly ElfSegment[];
  /** Bytes of physical addresses that it covers, those included that it has no bytes of. */
  readonly end: number;
}

/** A file that is read as far as it is looked at. */
export interface ReadableBytes {
  /** Bytes. */
  readonly size: number;
  /** Fills `into` with what is at `at`; zeros past the end. */
  readonly read: (into: Uint8Array, at: number) => void;
}

/** Number of program headers where there are more than that: the first section says how many. */
const PN_XNUM = 0xffff;
/** Offset of sh_info in a section header. */
const SECTION_INFO = { at: 44, bytes: 4 };
const SECTION_HEADER_BYTES = 64;
/** Program headers that are read, at most: the largest RAM in pieces of 64 MiB has as many. */
const MAX_SEGMENTS = 2 ** 18;
/** Physical address of a segment that is no physical memory (/proc/kcore has such). */
const NOWHERE = 0xffff_ffff_ffff_ffffn;

/** Damage that a reader may go on after; by default it is thrown. */
function throwIt(damage: KernelError): never {
  throw damage;
}

/**
 * Reads the headers of an ELF core, and none of the memory in it.
 *
 * @param onDamage for tools: is told of a segment that is cut short, claims what another has, or
 * lies where no memory is; what is left of it is used, or it is left out. Default: it is thrown.
 * @throws KernelError EINVAL: no ELF64 core, a damaged one, or nothing that can be read. EOVERFLOW:
 * a field is beyond 2^53.
 */
export function readElfCore(file: ReadableBytes, onDamage: (damage: KernelError) => void = throwIt): ElfCore {
  checkObject(file, 'a file');
  checkWhole(file.size, 'bytes of a file');
  checkFunction(file.read, 'what reads a file');
  checkFunction(onDamage, 'what is told of damage');
  const bytesAt = (at: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length);
    file.read(bytes, at);
    return bytes;
  };
  const head = bytesAt(0, ElfHeader.SIZE);
  if (!beginsAsElf(head) || file.size < ElfHeader.SIZE)
    throw new KernelError('EINVAL', 'this is no ELF file');
  const header = new StructView(head);
  if (
    head[ElfHeader.class.at] !== 2 ||
    head[ElfHeader.data.at] !== 1 ||
    header.getU16(ElfHeader.type) !== ET_CORE
  ) {
    throw new KernelError(
      'EINVAL',
      'this ELF file is no 64-bit little-endian core: dump the memory with dump-guest-memory or kdump',
    );
  }
  if (header.getU16(ElfHeader.phentsize) !== ProgramHeader.SIZE) {
    throw new KernelError(
      'EINVAL',
      `program headers of ${header.getU16(ElfHeader.phentsize)} bytes, 56 expected: the file is damaged`,
    );
  }
  let count = header.getU16(ElfHeader.phnum);
  if (count === PN_XNUM) {
    const section = header.getNumber(ElfHeader.shoff);
    count = new StructView(bytesAt(section, SECTION_HEADER_BYTES)).getU32(SECTION_INFO);
  }
  const phoff = header.getNumber(ElfHeader.phoff);
  if (count > MAX_SEGMENTS || phoff + count * ProgramHeader.SIZE > file.size)
    throw new KernelError('EINVAL', 'the ELF file ends inside its program headers');
  const headers = bytesAt(phoff, count * ProgramHeader.SIZE);
  const segments: ElfSegment[] = [];
  let end = 0;
  let isCut = false;
  let first: KernelError | undefined;
  const tell = (damage: KernelError): void => {
    first ??= damage;
    onDamage(damage);
  };
  for (let i = 0; i < count; i++) {
    const entry = new StructView(headers.subarray(i * ProgramHeader.SIZE, (i + 1) * ProgramHeader.SIZE));
    if (entry.getU32(ProgramHeader.type) !== PT_LOAD) continue;
    if (onDamage !== throwIt && entry.getU64(ProgramHeader.paddr) === NOWHERE) continue;
    const place = placeOf(entry, tell);
    if (!place) continue;
    const { pa, offset, memory } = place;
    let { length } = place;
    if (memory < length) {
      tell(new KernelError('EINVAL', `segment ${i} is no range of physical memory`));
      continue;
    }
    if (pa + memory > MAX_RAM_SIZE) {
      const most = `this reads images up to address 0x${MAX_RAM_SIZE.toString(16)}, ${formatSize(MAX_RAM_SIZE)}`;
      tell(new KernelError('EINVAL', `segment ${i} ends at 0x${(pa + memory).toString(16)}: ${most}`));
      continue;
    }
    if (offset + length > file.size) {
      const from = `0x${(pa + Math.max(0, file.size - offset)).toString(16)}`;
      const what = `segment ${i} ends outside the file: it is cut short (no memory from ${from} on)`;
      if (!isCut) tell(new KernelError('EINVAL', what)); // and so are all behind it
      isCut = true;
      length = Math.max(0, file.size - offset);
    }
    if (length > 0) segments.push({ pa, offset, length });
    end = Math.max(end, pa + memory);
  }
  if (end === 0) throw first ?? new KernelError('EINVAL', 'the ELF core has no memory in it');
  segments.sort((a, b) => a.pa - b.pa);
  return { segments: apart(segments, onDamage), end };
}

/** Where a segment lies in memory and in the file; undefined, and told, where no numbers say so. */
function placeOf(
  entry: StructView,
  onDamage: (damage: KernelError) => void,
): (ElfSegment & { readonly memory: number }) | undefined {
  try {
    return {
      pa: entry.getNumber(ProgramHeader.paddr),
      offset: entry.getNumber(ProgramHeader.offset),
      length: entry.getNumber(ProgramHeader.filesz),
      memory: entry.getNumber(ProgramHeader.memsz),
    };
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    onDamage(error);
    return undefined;
  }
}

/** The segments without what one before has already. */
function apart(segments: readonly ElfSegment[], onDamage: (damage: KernelError) => void): ElfSegment[] {
  const kept: ElfSegment[] = [];
  let end = 0;
  for (const { pa, offset, length } of segments) {
    if (pa < end) {
      const error = `two segments claim physical address 0x${pa.toString(16)}: the file is damaged`;
      onDamage(new KernelError('EINVAL', error));
    }
    const from = Math.max(pa, end);
    if (from >= pa + length) continue;
    kept.push({ pa: from, offset: offset + from - pa, length: length - (from - pa) });
    end = pa + length;
  }
  return kept;
}

/**
 * Fills a block that is zero with what the segments have of it.
 *
 * @param segments by address, without overlap
 * @throws KernelError EINVAL: no file, list, bytes or address. What reading the file throws.
 */
export function fillFromSegments(
  file: ReadableBytes,
  segments: readonly ElfSegment[],
  block: Uint8Array,
  pa: number,
): void {
  checkObject(file, 'a file');
  checkList(segments, 'segments');
  checkInstance(block, 'a block', Uint8Array);
  checkWhole(pa, 'an address of a block');
  for (let i = firstAfter(segments, pa); i < segments.length && segments[i].pa < pa + block.length; i++) {
    const segment = segments[i];
    const from = Math.max(segment.pa, pa);
    const to = Math.min(segment.pa + segment.length, pa + block.length);
    assert(to > from, 'segments are sorted and do not overlap');
    file.read(block.subarray(from - pa, to - pa), segment.offset + from - segment.pa);
  }
}

/** Index of the first segment that ends after `pa`; segments are sorted by address. */
function firstAfter(segments: readonly ElfSegment[], pa: number): number {
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const segment = segments[middle];
    if (segment.pa + segment.length <= pa) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Bytes in memory, to be read as a file. */
function inMemory(bytes: Uint8Array): ReadableBytes {
  return {
    size: bytes.length,
    read: (into, at) => {
      const there = bytes.subarray(Math.min(at, bytes.length), Math.min(at + into.length, bytes.length));
      into.set(there);
      into.fill(0, there.length);
    },
  };
}

/**
 * The memory of an ELF core. Only what is looked at is copied out of `file`; writes stay in this
 * object.
 *
 * @param file the whole file, decompressed
 * @param size bytes of RAM; at least what the segments cover, which is also the default
 * @throws KernelError EINVAL: nothing that has bytes, no ELF64 core, a damaged one, or a size below
 * what it covers. EOVERFLOW: a field is beyond 2^53.
 */
export class ElfCoreRam extends SparseRam {
  constructor(file: Bytes, size?: number) {
    if (size !== undefined) checkRamSize(size);
    const bytes = inMemory(bytesOf(file));
    const { segments, end } = readElfCore(bytes);
    const covered = Math.ceil(end / PAGE_SIZE) * PAGE_SIZE;
    if (size !== undefined && size < covered)
      throw new KernelError('EINVAL', `the image covers ${covered} bytes, RAM of ${size} cannot hold it`);
    super(size ?? covered, (block, pa) => {
      fillFromSegments(bytes, segments, block, pa);
    });
  }
}

/**
 * A raw image: the file is physical memory from address 0 on. Opened without copying; a missing
 * tail of a page reads as zeros.
 *
 * @throws KernelError EINVAL: nothing that has bytes, or none at all
 */
export function rawImageRam(file: Bytes): SparseRam {
  const bytes = bytesOf(file);
  return new SparseRam(Math.ceil(bytes.length / PAGE_SIZE) * PAGE_SIZE, (block, pa) => {
    block.set(bytes.subarray(pa, Math.min(pa + block.length, bytes.length)));
  });
}
