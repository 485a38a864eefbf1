/** What every kind of image gives. */
import type { KernelError } from '@liveupdate/base';
import type { Ram, RamPiece } from '@liveupdate/mm';

export type ImageKind = 'ELF core' | 'kdump' | 'raw image';

export interface MemoryImage {
  readonly kind: ImageKind;
  /** Bytes of physical addresses that it covers: a multiple of the page size. */
  readonly covered: number;
  /** Where it has memory, ascending and apart; all else reads as zeros. */
  readonly pieces: readonly RamPiece[];
  /** Release of the kernel whose memory it is, where the file says so. */
  readonly release: string | undefined;
  /** What of the file is damaged, as far as it was read. */
  readonly damage: readonly KernelError[];
  /**
   * The memory of a machine of so many bytes; default: as many as are covered. Of what was looked
   * at it keeps 256 MiB at most.
   *
   * @throws KernelError EINVAL: no size of a RAM
   */
  ram(size?: number): Ram;
}
