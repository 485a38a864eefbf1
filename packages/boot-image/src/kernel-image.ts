/**
 * An x86 kernel image (bzImage): what its header says to whoever loads it (the Linux/x86 boot
 * protocol), and that header changed for a kernel that stands elsewhere in memory.
 */
import { bytesOf, KernelError, PAGE_SIZE, type Bytes } from '@liveupdate/base';

/** Where the header has what, as offsets in the file. */
const Header = {
  setupSectors: 0x1f1, // u8; 0 means 4
  codeSize: 0x1f4, // u32, in units of 16 bytes
  magic: 0x202,
  version: 0x206, // u16
  releaseAt: 0x20e, // u16, counted from 0x200
  code32Start: 0x214, // u32
  relocatable: 0x234, // u8
  alignment: 0x230, // u32
  setupData: 0x250, // u64
  preferred: 0x258, // u64
  initSize: 0x260, // u32
  end: 0x268,
} as const;

const MAGIC = 'HdrS';
const SECTOR = 512;
/** The first protocol whose header has a preferred address and an initial size. */
const LEAST_VERSION = 0x20a;

/** A bzImage, as far as a loader looks at it. */
export interface KernelImage {
  /** What the kernel calls itself, such as `7.3.4-luo (me@here) #2 ...`. */
  readonly release: string;
  /** The real-mode part, which a boot loader reads first. */
  readonly setup: Uint8Array;
  /** What unpacks the kernel, and the kernel. */
  readonly code: Uint8Array;
  /** Bytes. */
  readonly alignment: number;
  /** The least address at which it unpacks itself: below that it moves. */
  readonly least: number;
  /** Bytes that it needs from where it stands until it knows of memory. */
  readonly initSize: number;
}

/**
 * Reads the header of a bzImage.
 *
 * @throws KernelError EINVAL: no bzImage, cut short, of a protocol before 2.10 (Linux 2.6.31), or a
 * kernel that cannot run where it is not linked to (CONFIG_RELOCATABLE)
 */
export function readKernelImage(file: Bytes): KernelImage {
  const bytes = bytesOf(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to));
  if (bytes.length < Header.end || text(Header.magic, Header.magic + MAGIC.length) !== MAGIC)
    throw new KernelError('EINVAL', 'this is no bzImage: give the kernel that a boot loader gets');
  const version = view.getUint16(Header.version, true);
  if (version < LEAST_VERSION)
    throw new KernelError(
      'EINVAL',
      `boot protocol ${version >> 8}.${version & 0xff} is too old, 2.10 is needed`,
    );
  if (bytes[Header.relocatable] === 0)
    throw new KernelError(
      'EINVAL',
      'this kernel runs at one address only: build it with CONFIG_RELOCATABLE, since it has to stand in scratch memory',
    );
  const setupBytes = SECTOR * (1 + (bytes[Header.setupSectors] || 4));
  const codeBytes = 16 * view.getUint32(Header.codeSize, true);
  if (bytes.length <= setupBytes || bytes.length < setupBytes + codeBytes)
    throw new KernelError('EINVAL', 'the kernel image is cut short: copy it again');
  const alignment = view.getUint32(Header.alignment, true);
  const initSize = view.getUint32(Header.initSize, true);
  if (alignment < PAGE_SIZE || (alignment & (alignment - 1)) !== 0 || initSize < codeBytes)
    throw new KernelError('EINVAL', 'the header of the kernel image is damaged: copy it again');
  const releaseAt = 0x200 + view.getUint16(Header.releaseAt, true);
  const releaseEnd = bytes.indexOf(0, releaseAt);
  return {
    release: releaseEnd < 0 ? '' : text(releaseAt, Math.min(releaseEnd, releaseAt + 256)),
    setup: bytes.slice(0, setupBytes),
    code: bytes.subarray(setupBytes),
    alignment,
    least: Number(view.getBigUint64(Header.preferred, true)),
    initSize,
  };
}

/**
 * The real-mode part for a kernel whose code stands at `at` already, and that is told of the
 * setup_data record at `setupData`. A loader finds no code in it, and so writes none over memory.
 */
export function setupFor({ setup }: KernelImage, at: number, setupData: number): Uint8Array {
  const file = setup.slice();
  const view = new DataView(file.buffer);
  view.setUint32(Header.code32Start, at, true);
  view.setBigUint64(Header.setupData, BigInt(setupData), true);
  return file;
}
