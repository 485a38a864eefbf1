/**
 * Which pages of a mapping are written: the kernel write-protects them and lifts the protection by
 * itself at the first write (userfaultfd in asynchronous write-protect mode), and
 * /proc/self/pagemap tells afterwards where it did (PAGEMAP_SCAN). Linux 6.7.
 *
 * - Nobody waits for us: asynchronous faults are resolved inside the kernel, so a process that
 *   stops looking goes on.
 * - The structures are those of linux/userfaultfd.h and linux/fs.h; all their fields are 64-bit
 *   words.
 */
import { KernelError, Undo } from '@liveupdate/base';
import { ioctl, userfaultfd, type Address } from './libc.ts';
import { PrivateMemory } from './mapping.ts';
import { fs } from './node-fs.ts';

const UFFD_API = 0xaan;
/** Shared memory and hugetlb can be write-protected. */
const FEATURE_WP_HUGETLBFS_SHMEM = 1n << 12n;
/** Pages that are not there yet can be, too. */
const FEATURE_WP_UNPOPULATED = 1n << 13n;
/** The kernel lifts the protection itself. */
const FEATURE_WP_ASYNC = 1n << 15n;
const FEATURES = FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC;
const REGISTER_MODE_WP = 2n;
const WRITEPROTECT_MODE_WP = 1n;

const READ = 2;
const WRITE = 1;
/** Number of an ioctl (asm-generic/ioctl.h). */
function request(direction: number, type: number, number: number, size: number): number {
  return ((direction << 30) | (size << 16) | (type << 8) | number) >>> 0;
}
/** struct uffdio_api: api, features, ioctls. */
const UFFDIO_API = request(READ | WRITE, 0xaa, 0x3f, 24);
/** struct uffdio_register: start, length, mode, ioctls. */
const UFFDIO_REGISTER = request(READ | WRITE, 0xaa, 0, 32);
/** struct uffdio_range: start, length. */
const UFFDIO_UNREGISTER = request(READ, 0xaa, 1, 16);
/** struct uffdio_writeprotect: start, length, mode. */
const UFFDIO_WRITEPROTECT = request(READ | WRITE, 0xaa, 6, 24);

/** struct pm_scan_arg, in words. Each region found is three: start, end, categories. */
const SCAN = { bytes: 96, words: 12 } as const;
const PAGEMAP_SCAN = request(READ | WRITE, 0x66, 16, SCAN.bytes);
const PAGE_IS_WRITTEN = 2n;
const REGION_WORDS = 3;

/** Bytes of our memory in which the kernel finds the structures and leaves the regions. */
const EXCHANGE = 64 * 1024;
const MAX_REGIONS = Math.floor((EXCHANGE / 8 - SCAN.words) / REGION_WORDS);

/** A range whose writes are being noted. */
export interface WriteWatch {
  /** Bytes in pages written since the watch began. */
  written(): number;
  /** Ends the watch. `mapped`: the range is still mapped and has to be given back as it was. */
  release(mapped: boolean): void;
}

/**
 * Begins to note writes to a mapped range of shared memory.
 *
 * @throws KernelError EBUSY: somebody watches the range already. ENOSYS, EPERM, EINVAL, ENOTTY,
 * ENOENT, others: this kernel, or the place where we run, does not offer it; nothing has changed.
 */
export function watchWrites(address: Address, length: number): WriteWatch {
  using undo = new Undo();
  const exchange = new PrivateMemory(EXCHANGE);
  undo.add(() => {
    exchange.unmap();
  });
  const words = new BigUint64Array(exchange.buffer).fill(0n); // touched now, or it would count as growth later
  const call = (fd: number, number: number, ...fields: bigint[]): number => {
    words.set(fields);
    return ioctl(fd, number, exchange.address);
  };
  const uffd = userfaultfd();
  undo.add(() => {
    fs.closeSync(uffd);
  });
  call(uffd, UFFDIO_API, UFFD_API, FEATURES, 0n);
  const pagemap = openPagemap();
  undo.add(() => {
    fs.closeSync(pagemap);
  });

  /**
   * The next regions written from `from` on: their number, and their words behind the structure's.
   */
  const scan = (from: Address): number => {
    const regions = exchange.address + BigInt(SCAN.bytes);
    const fields = [BigInt(SCAN.bytes), 0n, from, address + BigInt(length), 0n, regions, BigInt(MAX_REGIONS)];
    return call(pagemap, PAGEMAP_SCAN, ...fields, 0n, 0n, PAGE_IS_WRITTEN, 0n, PAGE_IS_WRITTEN);
  };
  const written = (): number => {
    let bytes = 0n;
    let from = address;
    // Not from the structure's walk_end: where more than 512 regions are found it may point before
    // the last of them.
    for (let found = scan(from); found > 0; found = scan(from)) {
      for (let at = SCAN.words; at < SCAN.words + found * REGION_WORDS; at += REGION_WORDS) {
        bytes += words[at + 1] - words[at];
        from = words[at + 1];
      }
    }
    return Number(bytes);
  };

  call(uffd, UFFDIO_REGISTER, address, BigInt(length), REGISTER_MODE_WP, 0n);
  // The undo steps close the descriptor, which ends all of this too.
  call(uffd, UFFDIO_WRITEPROTECT, address, BigInt(length), WRITEPROTECT_MODE_WP);
  written(); // a kernel that knows the protection but not the scan fails here
  undo.keep();
  return {
    written,
    release: (mapped) => {
      // Closing would do, but for a child that was being forked meanwhile and holds the descriptor
      // until it execs.
      if (mapped) call(uffd, UFFDIO_UNREGISTER, address, BigInt(length));
      fs.closeSync(pagemap);
      fs.closeSync(uffd);
      exchange.unmap();
    },
  };
}

function openPagemap(): number {
  try {
    return fs.openSync('/proc/self/pagemap', 'r');
  } catch (cause) {
    throw new KernelError('ENOENT', 'there is no /proc/self/pagemap that could be read', { cause });
  }
}
