/**
 * A RAM file as it is, mapped privately: what is stored here reaches nobody, and ends with it. For
 * a kernel that is to be tried out on memory that another one owns.
 *
 * - A page shows what the owner stores until something is stored to it here.
 * - A page that the file does not have is given to it by a look at it (zeros, 4 KiB). Where the
 *   file system is full, that look ends the process by SIGBUS.
 */
import { checkInstance, KernelError } from '@liveupdate/base';
import {
  checkPages,
  checkRange,
  type Ram,
  type RamPiece,
  type RamView,
  type ViewOptions,
} from '@liveupdate/mm';
import { giveBackOnceCollected, retire, type Range } from './address-ranges.ts';
import { MAP_PRIVATE } from './libc.ts';
import { mapRuns, Windows } from './mapping.ts';
import { RamFile } from './ram-file.ts';

export class PrivateRam implements Ram {
  readonly size: number;
  /** Told which pieces a view is asked for. The view that is made shows nothing. */
  onView: ((pieces: readonly RamPiece[], options: ViewOptions) => void) | undefined;
  readonly #range: Range;
  #windows: Windows | undefined;

  /**
   * @param size bytes, where the file has more
   * @throws KernelError EINVAL: no file, or its size is not that of a RAM. ENOMEM: no address space
   */
  constructor(file: RamFile, size?: number) {
    checkInstance(file, 'a file of a RAM', RamFile);
    this.size = file.checkSize(size);
    this.#range = mapRuns(file.fd, [{ pa: 0, length: this.size }], file.granule, MAP_PRIVATE);
    this.#windows = new Windows(this.#range.address, this.size);
  }

  bytes(pa: number, length: number): Uint8Array<ArrayBuffer> {
    const windows = this.#open();
    checkRange(this.size, pa, length);
    return windows.bytes(pa, length);
  }

  discard(pa: number, length: number): void {
    const windows = this.#open();
    checkPages(this.size, pa, length);
    windows.bytes(pa, length).fill(0);
  }

  view(pieces: readonly RamPiece[], options: ViewOptions): RamView {
    this.#open();
    this.onView?.(pieces, options);
    return {
      bytes: new Uint8Array(0),
      populate: () => Promise.resolve(),
      share: () => {
        throw new KernelError('EOPNOTSUPP', 'a private RAM has no views to share');
      },
      release: () => undefined,
    };
  }

  /** Addresses of windows through which somebody looked: see MappedRam.prepareWindow. */
  get opened(): number[] {
    return this.#open().opened;
  }

  close(): void {
    if (!this.#windows) return;
    const buffers = this.#windows.detach();
    this.#windows = undefined;
    retire(this.#range);
    if (buffers) giveBackOnceCollected(this.#range, buffers); // else somebody may have its address
  }

  #open(): Windows {
    if (!this.#windows) throw new KernelError('EBADF', 'this RAM is closed');
    return this.#windows;
  }
}
