/**
 * The memory of the kernel that runs: /proc/kcore, with what /sys/kernel/debug/kho says of it:
 * whether it has KHO at all, where its memory map is, and the scratch areas. These are put into a
 * page behind the end of RAM, so that what reads a handover finds them at an address.
 */
import * as fs from 'node:fs';
import { codeOf, KernelError, PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import { walkRadixTree } from '@liveupdate/kho';
import { openMemoryImage } from '@liveupdate/memory-image';
import type { Ram, RamPiece } from '@liveupdate/mm';
import type { ByteSource } from './image-source.ts';
import { findMoment, type MomentFound } from './moment.ts';
import { areasAt, type Findings } from './survey.ts';

const DEBUGFS = '/sys/kernel/debug';
const KHO = `${DEBUGFS}/kho`;
const FDT_PROP = 3;

function offersNothing(cause: unknown): KernelError {
  const code = codeOf(cause);
  if (code === 'EACCES' || code === 'EPERM')
    return new KernelError(code, `${KHO} cannot be read: run as root`, { cause });
  return new KernelError(
    'ENODEV',
    `this kernel shows nothing in ${KHO}: mount debugfs (mount -t debugfs none ${DEBUGFS}), or boot Linux 6.16 or newer with kho=on`,
    { cause },
  );
}

/** The page that a file holds the beginning of; undefined where there is no such file. */
function pageOf(path: string): Uint8Array | undefined {
  try {
    const page = new Uint8Array(PAGE_SIZE);
    page.set(fs.readFileSync(path).subarray(0, PAGE_SIZE));
    return page;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENODATA') return undefined;
    throw offersNothing(error);
  }
}

/** Numbers of a file, one a line. */
function numbersOf(path: string): bigint[] {
  try {
    const words = fs.readFileSync(path, 'utf8').split(/\s+/);
    return words.filter((word) => /^(0x[0-9a-f]+|\d+)$/i.test(word)).map((word) => BigInt(word));
  } catch {
    return [];
  }
}

/** The list of scratch areas as it stands in memory. */
function scratchPage(side: string): Uint8Array {
  const [addresses, lengths] = [numbersOf(`${side}/scratch_phys`), numbersOf(`${side}/scratch_len`)];
  const page = new Uint8Array(PAGE_SIZE);
  const words = new BigUint64Array(page.buffer);
  const count = Math.min(addresses.length, lengths.length, words.length / 2);
  for (let i = 0; i < count; i++) words.set([addresses[i], lengths[i]], 2 * i);
  return page;
}

/** RAM with some pages behind its end. */
class RamAndPages implements Ram {
  readonly size: number;
  readonly #ram: Ram;
  readonly #pages: readonly Uint8Array[];

  constructor(ram: Ram, pages: readonly Uint8Array[]) {
    this.#ram = ram;
    this.#pages = pages;
    this.size = ram.size + pages.length * PAGE_SIZE;
  }

  bytes(pa: number, length: number): Uint8Array {
    const behind = pa - this.#ram.size;
    if (behind + length <= 0) return this.#ram.bytes(pa, length);
    if (behind < 0) {
      const both = new Uint8Array(length);
      both.set(this.#ram.bytes(pa, -behind));
      for (let at = -behind; at < length; at += PAGE_SIZE)
        both.set(this.bytes(pa + at, Math.min(PAGE_SIZE, length - at)), at);
      return both;
    }
    const page = this.#pages.at(Math.floor(behind / PAGE_SIZE));
    const at = behind % PAGE_SIZE;
    if (!page || at + length > PAGE_SIZE)
      throw new KernelError('EFAULT', `0x${pa.toString(16)} + ${length} bytes is not inside RAM`);
    return page.subarray(at, at + length);
  }

  discard(): never {
    throw new KernelError('EROFS', 'the memory of the running kernel is not changed');
  }

  close(): void {
    this.#ram.close();
  }
}

/** Pages that are preserved one by one, by address: records lie in such. */
function recordPages(ram: Ram, roots: readonly number[]): RamPiece[] {
  const pieces: RamPiece[] = [];
  for (const root of roots) {
    const visit = (pfn: number, count: number, order: number): void => {
      if (order === 0) pieces.push({ pa: pfnToPhys(pfn), length: count * PAGE_SIZE });
    };
    walkRadixTree(ram, root, visit, undefined, () => undefined);
  }
  return pieces.sort((a, b) => a.pa - b.pa);
}

/** What the running kernel has preserved, and what it was handed. */
export interface RunningKernel {
  readonly ram: Ram;
  readonly moment: MomentFound;
  readonly damage: readonly KernelError[];
}

/**
 * The value of the first property of eight bytes: where the memory map begins. Names of properties
 * are not looked at, since the file may be cut before them: it is as long as the tree was when it
 * was made.
 */
function mapRoot(tree: Uint8Array): number | undefined {
  const view = new DataView(tree.buffer, tree.byteOffset, tree.byteLength);
  const first = view.getUint32(8, false); // off_dt_struct
  for (let at = first; at + 20 <= tree.length; at += 4) {
    const isProperty = view.getUint32(at, false) === FDT_PROP && view.getUint32(at + 4, false) === 8;
    const root = isProperty ? Number(view.getBigUint64(at + 12, true)) : 0;
    if (root > 0 && root % PAGE_SIZE === 0) return root;
  }
  return undefined;
}

/**
 * Reads the running kernel. Where it was handed nothing, only pages that it has preserved are
 * looked at; else all of its memory, since the map of what it was handed may be gone.
 *
 * @param kcore its memory
 * @param search looks at all of some memory
 * @throws KernelError ENODEV: it has no KHO, or does not show it. EACCES, EPERM: not as root.
 * EINVAL: what it shows is damaged, or of another version
 */
export async function openRunningKernel(
  kcore: ByteSource,
  search: (ram: Ram, pieces: readonly RamPiece[]) => Promise<Findings>,
): Promise<RunningKernel> {
  const out = pageOf(`${KHO}/out/fdt`);
  const incoming = pageOf(`${KHO}/in/fdt`);
  if (!out && !incoming) throw offersNothing(undefined);
  const image = openMemoryImage(kcore);
  const scratch = scratchPage(`${KHO}/out`);
  const ram = new RamAndPages(image.ram(), [scratch]);
  const root = out && mapRoot(out);
  const areas = areasAt(scratch, 0, PAGE_SIZE);
  const arrays: Findings['arrays'] = new Map(areas.length > 0 ? [['', { pa: image.covered, areas }]] : []);
  const isFirst = !incoming && root !== undefined;
  const found = await search(ram, isFirst ? recordPages(ram, [root]) : image.pieces);
  const moment = findMoment(ram, { ...found, arrays });
  // Kernel text is in two pieces of it: that is no damage.
  return { ram, moment: { ...moment, entryFrom: 'kernel' }, damage: [] };
}
