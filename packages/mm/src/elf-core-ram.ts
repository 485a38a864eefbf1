/**
 * A memory image: an ELF core file whose PT_LOAD segments carry physical addresses, as QEMU's
 * dump-guest-memory and kdump write it. Pages that the file leaves out read as zeros. Source:
 * System V ABI, chapter 'Object Files' (ELF64 header, program header).
 */
import {
  assert,
  bytesOf,
  formatSize,
  KernelError,
  layout,
  PAGE_SIZE,
  StructView,
  type Bytes,
} from '@liveupdate/base';
import { checkRamSize, MAX_RAM_SIZE } from './ram.ts';
import { SparseRam } from './sparse-ram.ts';

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
interface Segment {
  readonly pa: number;
  readonly bytes: Uint8Array;
}

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

function segmentsOf(file: Uint8Array): { segments: Segment[]; end: number } {
  if (!beginsAsElf(file) || file.length < ElfHeader.SIZE)
    throw new KernelError('EINVAL', 'this is no ELF file');
  const header = new StructView(file.subarray(0, ElfHeader.SIZE));
  if (
    file[ElfHeader.class.at] !== 2 ||
    file[ElfHeader.data.at] !== 1 ||
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
  const count = header.getU16(ElfHeader.phnum);
  const first = header.getNumber(ElfHeader.phoff);
  if (first + count * ProgramHeader.SIZE > file.length)
    throw new KernelError('EINVAL', 'the ELF file ends inside its program headers');
  const segments: Segment[] = [];
  let end = 0;
  for (let i = 0; i < count; i++) {
    const at = first + i * ProgramHeader.SIZE;
    const entry = new StructView(file.subarray(at, at + ProgramHeader.SIZE));
    if (entry.getU32(ProgramHeader.type) !== PT_LOAD) continue;
    const pa = entry.getNumber(ProgramHeader.paddr);
    const offset = entry.getNumber(ProgramHeader.offset);
    const length = entry.getNumber(ProgramHeader.filesz);
    const memory = entry.getNumber(ProgramHeader.memsz);
    if (offset + length > file.length)
      throw new KernelError('EINVAL', `segment ${i} ends outside the file: it is cut short`);
    if (memory < length) throw new KernelError('EINVAL', `segment ${i} is no range of physical memory`);
    if (pa + memory > MAX_RAM_SIZE) {
      const most = `this reads images up to address 0x${MAX_RAM_SIZE.toString(16)}, ${formatSize(MAX_RAM_SIZE)}`;
      throw new KernelError('EINVAL', `segment ${i} ends at 0x${(pa + memory).toString(16)}: ${most}`);
    }
    if (length > 0) segments.push({ pa, bytes: file.subarray(offset, offset + length) });
    end = Math.max(end, pa + memory);
  }
  if (end === 0) throw new KernelError('EINVAL', 'the ELF core has no memory in it');
  segments.sort((a, b) => a.pa - b.pa);
  return { segments, end };
}

/** Index of the first segment that ends after `pa`; segments are sorted by address. */
function firstAfter(segments: readonly Segment[], pa: number): number {
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const segment = segments[middle];
    if (segment.pa + segment.bytes.length <= pa) low = middle + 1;
    else high = middle;
  }
  return low;
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
    const { segments, end } = segmentsOf(bytesOf(file));
    for (let i = 1; i < segments.length; i++) {
      const before = segments[i - 1];
      if (before.pa + before.bytes.length > segments[i].pa) {
        throw new KernelError(
          'EINVAL',
          `two segments claim physical address 0x${segments[i].pa.toString(16)}: the file is damaged`,
        );
      }
    }
    const covered = Math.ceil(end / PAGE_SIZE) * PAGE_SIZE;
    if (size !== undefined && size < covered)
      throw new KernelError('EINVAL', `the image covers ${covered} bytes, RAM of ${size} cannot hold it`);
    super(size ?? covered, (block, pa) => {
      for (let i = firstAfter(segments, pa); i < segments.length && segments[i].pa < pa + block.length; i++) {
        const segment = segments[i];
        const from = Math.max(segment.pa, pa);
        const to = Math.min(segment.pa + segment.bytes.length, pa + block.length);
        assert(to > from, 'segments are sorted and do not overlap');
        block.set(segment.bytes.subarray(from - segment.pa, to - segment.pa), from - pa);
      }
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
