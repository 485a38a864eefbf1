/**
 * The memory map of a machine: which physical addresses are memory (kernel: memblock; x86: the e820
 * table). RAM may begin anywhere and have holes; what lies outside the map is never touched.
 */
import {
  bytesOf,
  checkObject,
  checkList,
  checkOneOf,
  checkWhole,
  KernelError,
  PAGE_SIZE,
} from '@liveupdate/base';
import {
  checkPages,
  checkRam,
  checkRange,
  HUGE_PAGE,
  type Ram,
  type RamPiece,
  type RamView,
  type SystemMemory,
  type ViewOptions,
} from './ram.ts';

/** One line of a memory map, in bytes; it need not be made of whole pages. */
export interface MemoryMapEntry extends RamPiece {
  /**
   * Reserved memory (firmware, ACPI tables) is not ours, even where another line calls it usable.
   */
  readonly kind: 'usable' | 'reserved';
}

/**
 * The usable ranges of a memory map: whole pages, ascending, none touching another.
 *
 * @param size bytes of physical address space; what lies beyond is left out
 * @throws KernelError EINVAL: a line that is no range of addresses
 */
export function usableMemory(map: readonly MemoryMapEntry[], size: number): RamPiece[] {
  checkWhole(size, 'a size of the address space');
  for (const line of checkList(map, 'a memory map')) {
    checkObject(line, 'a line of a memory map');
    checkWhole(line.pa, 'an address');
    checkWhole(line.length, 'a length');
    checkOneOf(line.kind, 'a kind of memory', ['usable', 'reserved']);
  }
  let usable: [from: number, to: number][] = [];
  const lines = map.filter(({ kind }) => kind === 'usable').sort((a, b) => a.pa - b.pa);
  for (const { pa, length } of lines) {
    const last = usable.at(-1);
    if (last && pa <= last[1]) last[1] = Math.max(last[1], pa + length);
    else usable.push([pa, pa + length]);
  }
  for (const { pa, length, kind } of map) {
    if (kind !== 'reserved') continue;
    usable = usable.flatMap(([from, to]): [number, number][] => [
      [from, Math.min(to, pa)],
      [Math.max(from, pa + length), to],
    ]);
    usable = usable.filter(([from, to]) => from < to);
  }
  const pieces = usable.map(([from, to]) => {
    const pa = Math.ceil(from / PAGE_SIZE) * PAGE_SIZE;
    return { pa, length: Math.floor(Math.min(to, size) / PAGE_SIZE) * PAGE_SIZE - pa };
  });
  return pieces.filter(({ length }) => length > 0);
}

/** RAM of which only a part is memory. */
class MapRam implements Ram {
  readonly size: number;
  readonly memory: readonly RamPiece[];
  readonly #under: Ram;
  readonly inner?: Ram;
  readonly system?: SystemMemory;
  readonly view?: (pieces: readonly RamPiece[], options: ViewOptions) => RamView;
  readonly ownBytes?: (pa: number, length: number) => Uint8Array;

  constructor(under: Ram, memory: readonly RamPiece[]) {
    this.#under = under;
    this.memory = memory;
    const last = memory[memory.length - 1];
    this.size = last.pa + last.length;
    const { inner, system } = under;
    if (inner) this.inner = new MapRam(inner, memory);
    if (system) this.system = this.#checked(system);
    const view = under.view?.bind(under);
    if (view) {
      this.view = (pieces, options) => {
        for (const { pa, length } of pieces) this.#check(pa, length);
        return view(pieces, options);
      };
    }
    const ownBytes = under.ownBytes?.bind(under);
    if (ownBytes) {
      this.ownBytes = (pa, length) => {
        this.#check(pa, length);
        return ownBytes(pa, length);
      };
    }
  }

  /** The system as far as memory goes: a huge page that reaches into a hole is none. */
  #checked(system: SystemMemory): SystemMemory {
    const inside =
      <T>(call: (pa: number, length: number) => T) =>
      (pa: number, length: number): T => {
        this.#check(pa, length);
        return call(pa, length);
      };
    return {
      reserve: inside((pa, length) => {
        system.reserve(pa, length);
      }),
      populate: inside((pa, length) => {
        system.populate(pa, length);
      }),
      populateHuge: (pa, isEmpty) => this.#isMemory(pa, HUGE_PAGE) && system.populateHuge(pa, isEmpty),
      read: (pa, given) => {
        const target = bytesOf(given);
        this.#check(pa, target.length);
        system.read(pa, target);
      },
      write: (pa, given) => {
        const bytes = bytesOf(given);
        this.#check(pa, bytes.length);
        system.write(pa, bytes);
      },
      dataPieces: inside((pa, length) => system.dataPieces(pa, length)),
    };
  }

  bytes(pa: number, length: number): Uint8Array {
    this.#check(pa, length);
    return this.#under.bytes(pa, length);
  }

  discard(pa: number, length: number): void {
    checkPages(this.size, pa, length);
    this.#check(pa, length);
    this.#under.discard(pa, length);
  }

  close(): void {
    this.#under.close();
  }

  #isMemory(pa: number, length: number): boolean {
    return this.memory.some((range) => pa >= range.pa && pa + length <= range.pa + range.length);
  }

  /** Throws EFAULT unless the range lies in one range of memory. */
  #check(pa: number, length: number): void {
    checkRange(this.size, pa, length);
    if (!this.#isMemory(pa, length)) {
      throw new KernelError(
        'EFAULT',
        `0x${pa.toString(16)} + ${length} bytes lies in a hole of the memory map`,
      );
    }
  }
}

/**
 * Shows of a RAM what its memory map calls usable; its size is where that ends. All else is EFAULT.
 *
 * @example
 * // A board whose RAM begins at 1 GiB, with 1 MiB of firmware in its midst.
 * const ram = withMemoryMap(new SparseRam(2 * GiB), [
 *   { pa: GiB, length: GiB, kind: 'usable' },
 *   { pa: GiB + 512 * MiB, length: MiB, kind: 'reserved' },
 * ]);
 *
 * @throws KernelError EINVAL: no RAM, a line that is no range, or no usable page at all
 */
export function withMemoryMap(ram: Ram, map: readonly MemoryMapEntry[]): Ram {
  checkRam(ram);
  const memory = usableMemory(map, ram.size);
  if (memory.length === 0) throw new KernelError('EINVAL', 'the memory map has no usable page in this RAM');
  return new MapRam(ram, memory);
}

/** The ranges of a RAM that are memory: all of it, where it has no map. */
export function memoryOf({ size, memory }: Pick<Ram, 'size' | 'memory'>): readonly RamPiece[] {
  return memory ?? [{ pa: 0, length: size }];
}
