/**
 * A handover as files from which QEMU boots a Linux kernel: the memory, in which the kernel stands
 * in scratch as after a kexec, and the part of the kernel that a boot loader needs.
 *
 * Scratch is the only place for the kernel: whatever else of memory it could unpack itself to may
 * be preserved.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import {
  checkFunction,
  checkObject,
  checkOptions,
  checkText,
  KernelError,
  formatSize,
  MAX_FOLIO_SIZE,
  PAGE_SIZE,
  pfnToPhys,
  type Bytes,
} from '@liveupdate/base';
import { readHandover, writeEntry, type EntryRecord, type Handover, type ScratchArea } from '@liveupdate/kho';
import { checkRam, FREE, KIND, RESERVED, type MemoryMapEntry, type Ram } from '@liveupdate/mm';
import { readKernelImage, setupFor, type KernelImage } from './kernel-image.ts';

const MiB = 2 ** 20;

/** A PC's first MiB: the firmware works there. */
const FIRMWARE_END = MiB;
/** At the end of its memory the firmware leaves its tables. */
const TABLES = MiB;
/** Above this address a PC of QEMU has devices, and memory goes on elsewhere. */
const MAX_MEMORY = 3 * 2 ** 30;

/** Of a `setup_data` record: u64 next, u32 type, u32 length; then what it carries. */
const SETUP_HEADER = 16;
/** The type of the record that tells of a handover. */
const SETUP_KEXEC_KHO = 10;
const ENTRY_BYTES = 32;

/** The machine whose firmware leaves the kernel's setup_data alone. */
const MACHINE = 'pc-i440fx-7.1';

export interface BootImageOptions {
  /** The memory that was handed over. */
  readonly ram: Ram;
  /** Bytes of memory of the PC, of which `ram` is what is usable. Default: as little as can be. */
  readonly size?: number;
  /** Where the handover begins. */
  readonly entry: EntryRecord;
  /** The kernel that boots from it: the bytes of a bzImage. */
  readonly kernel: Bytes;
  /** Called with the bytes that were written since the last call. */
  readonly onProgress?: (bytes: number) => void;
}

/** What was written. */
export interface BootImage {
  /** Paths. */
  readonly memory: string;
  readonly kernel: string;
  /** What the kernel calls itself. */
  readonly release: string;
  /** Physical address at which it begins. */
  readonly kernelAt: number;
  /** Bytes of memory that are not holes in the file. */
  readonly written: number;
  /**
   * Arguments of `qemu-system-x86_64` that make the machine: its kind, memory and kernel. The
   * memory file stays as it is, so that it can be booted from again.
   */
  readonly machine: readonly string[];
}

/**
 * The memory of a PC as QEMU makes it, for `withMemoryMap`: what a kernel of ours may use.
 *
 * @param size bytes of RAM: whole MiB, from 4 MiB to 3 GiB
 * @throws KernelError EINVAL: a size of another kind
 */
export function pcMemoryMap(size: number): MemoryMapEntry[] {
  if (!Number.isSafeInteger(size) || size % MiB !== 0 || size < 4 * MiB || size > MAX_MEMORY)
    throw new KernelError('EINVAL', `a PC has whole MiB of memory, 4 MiB to 3 GiB; this is ${String(size)}`);
  return [{ pa: FIRMWARE_END, length: size - TABLES - FIRMWARE_END, kind: 'usable' }];
}

/**
 * Writes a handover into the folder: `memory`, as large as the machine's RAM, with holes where
 * nothing was preserved, and `kernel`.
 *
 * @throws KernelError EINVAL: no bzImage, a handover that is damaged, memory where the firmware
 * works (see pcMemoryMap), or no scratch area in which the kernel has room. What the file system
 * says, such as ENOSPC. What was written until then stays.
 */
export async function writeBootImage(folder: string, options: BootImageOptions): Promise<BootImage> {
  checkText(folder, 'a folder');
  checkObject(options, 'options of a boot image');
  checkOptions(options, 'options of a boot image', ['ram', 'size', 'entry', 'kernel', 'onProgress']);
  const { ram, entry, kernel, onProgress } = options;
  checkRam(ram);
  const { size = Math.ceil((ram.size + TABLES) / MiB) * MiB } = options;
  if (onProgress !== undefined) checkFunction(onProgress, 'onProgress');
  const [usable] = pcMemoryMap(size);
  const image = readKernelImage(kernel);
  const handover = readHandover(ram, entry);
  const runs = [...preservedRuns(handover)];
  for (const [pa, length] of runs) {
    if (pa < usable.pa || pa + length > usable.pa + usable.length)
      throw new KernelError(
        'EINVAL',
        `0x${pa.toString(16)} is preserved, and the firmware of a PC works there: make the RAM with withMemoryMap(ram, pcMemoryMap(size))`,
      );
  }
  const place = placeIn(handover.scratch, image);
  makeFolder(folder);
  const paths = { memory: join(folder, 'memory'), kernel: join(folder, 'kernel') };
  const file = fs.openSync(paths.memory, 'w');
  let written = 0;
  const write = (bytes: Uint8Array, pa: number): void => {
    for (let at = 0; at < bytes.length;) at += fs.writeSync(file, bytes, at, bytes.length - at, pa + at);
    written += bytes.length;
    onProgress?.(bytes.length);
  };
  try {
    fs.ftruncateSync(file, size);
    for (const [pa, length] of runs) {
      write(ram.bytes(pa, length), pa);
      await turn();
    }
    write(image.code, place.kernel);
    write(setupData(entry), place.setupData);
  } finally {
    fs.closeSync(file);
  }
  fs.writeFileSync(paths.kernel, setupFor(image, place.kernel, place.setupData));
  return {
    ...paths,
    release: image.release,
    kernelAt: place.kernel,
    written,
    machine: machineArguments(paths, size),
  };
}

/** Makes the folder, in one that is there: to make those above it, too, hangs in some (/proc). */
function makeFolder(folder: string): void {
  if (folder === '' || folder.includes('\0'))
    throw new KernelError('EINVAL', `${JSON.stringify(folder)} is no path of a folder`);
  if (!fs.existsSync(folder)) fs.mkdirSync(folder);
}

function machineArguments({ memory, kernel }: { memory: string; kernel: string }, size: number): string[] {
  return [
    ...['-machine', `${MACHINE},memory-backend=ram`, '-m', `${size / MiB}M`],
    ...[
      '-object',
      `memory-backend-file,id=ram,size=${size},mem-path=${memory.replaceAll(',', ',,')},share=off`,
    ],
    ...['-kernel', kernel],
  ];
}

function setupData(entry: EntryRecord): Uint8Array {
  const record = new Uint8Array(SETUP_HEADER + ENTRY_BYTES);
  const view = new DataView(record.buffer);
  view.setUint32(8, SETUP_KEXEC_KHO, true);
  view.setUint32(12, ENTRY_BYTES, true);
  writeEntry(record.subarray(SETUP_HEADER), entry);
  return record;
}

/** Where the kernel and the record go: into one scratch area, the record behind the kernel. */
function placeIn(
  scratch: readonly ScratchArea[],
  { alignment, least, initSize, code, release }: KernelImage,
): { readonly kernel: number; readonly setupData: number } {
  const needed = Math.ceil(Math.max(initSize, code.length) / PAGE_SIZE) * PAGE_SIZE;
  for (const { addr, size } of scratch) {
    const kernel = Math.ceil(Math.max(addr, least) / alignment) * alignment;
    if (kernel + needed + PAGE_SIZE <= addr + size) return { kernel, setupData: kernel + needed };
  }
  const areas = scratch.map(({ addr, size }) => `${formatSize(size)} at 0x${addr.toString(16)}`).join(', ');
  throw new KernelError(
    'EINVAL',
    `the kernel ${release} needs ${formatSize(needed + alignment)} of one scratch area above 0x${least.toString(16)} to boot in, and there are ${areas}: boot cold with larger ones (scratch)`,
  );
}

/** What must be in memory when the kernel starts: what is preserved, and what leads to it. */
function* preservedRuns({ table, structure }: Handover): Generator<[pa: number, length: number]> {
  const isThere = new Uint8Array(table.frames).fill(1);
  for (const kind of [FREE, RESERVED]) {
    for (let pfn = 0; pfn < table.frames;) {
      const end = table.flagsEnd(KIND, kind, pfn, table.frames);
      isThere.fill(0, pfn, end);
      pfn = Math.max(end, pfn + 1);
    }
  }
  for (const pfn of structure) isThere[pfn] = 1;
  const most = MAX_FOLIO_SIZE / PAGE_SIZE;
  for (let pfn = isThere.indexOf(1); pfn >= 0; pfn = isThere.indexOf(1, pfn)) {
    // A RAM shows at most a block at once.
    const limit = Math.min((Math.floor(pfn / most) + 1) * most, table.frames);
    const end = isThere.indexOf(0, pfn);
    const to = end < 0 ? limit : Math.min(end, limit);
    yield [pfnToPhys(pfn), (to - pfn) * PAGE_SIZE];
    pfn = to;
  }
}
