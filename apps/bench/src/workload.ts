/**
 * What a trial works on: how large the folios are, how many files there are, what is in them, and
 * where RAM comes from.
 */
import * as fs from 'node:fs';
import { fillRandom, KernelError, MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { hostFacts, MappedRam } from '@liveupdate/linux';
import type { Shmem, ShmemFile } from '@liveupdate/shmem';

export interface Workload {
  /** Bytes in each folio. */
  readonly folio: 4096 | 65_536 | 2_097_152;
  /** Files that share the bytes evenly. */
  readonly files: number;
  /** `sparse`: of sixteen pages one has content, all others are holes until they are preserved. */
  readonly content: 'dense' | 'sparse';
  /** A memfd, a file in /dev/shm, or a memfd of huge pages from the host's pool. */
  readonly ram: 'memfd' | 'shm' | 'hugetlb';
}

export const SMALL: Workload = { folio: 4096, files: 1, content: 'dense', ram: 'memfd' };
export const MEDIUM: Workload = { ...SMALL, folio: 65_536 };
export const HUGE: Workload = { ...SMALL, folio: 2_097_152 };

const SPARSE_STEP = 16 * PAGE_SIZE;

/**
 * Pages of RAM that a file needs beside its content: its record, its folio array, what lists that.
 */
const PAGES_PER_FILE = 4;

/**
 * How large a machine's RAM is made: with room for scratch, the map and the records, of 16 bytes
 * per folio.
 */
export function ramSizeFor(size: number, files = 1): number {
  const beside = 32 * 2 ** 20 + files * PAGES_PER_FILE * PAGE_SIZE;
  return Math.ceil((size * 1.02 + beside) / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
}

/**
 * RAM for a workload. The file in /dev/shm has no name any more when this returns: it ends with us.
 */
export function makeRam({ ram, files }: Workload, size: number): MappedRam {
  const name = 'liveupdate-bench';
  const options = { name, size: ramSizeFor(size, files), hugetlb: ram === 'hugetlb' };
  if (ram !== 'shm') return MappedRam.anonymous(options);
  const path = `/dev/shm/${name}-${process.pid}-${Date.now()}.ram`;
  const made = MappedRam.create({ path, size: options.size });
  fs.unlinkSync(path);
  return made;
}

/** Why RAM for a workload cannot be had here; undefined where it can. */
export function missingRam({ ram, files }: Workload, size: number): string | undefined {
  if (ram === 'shm' && !fs.existsSync('/dev/shm')) return 'there is no /dev/shm';
  if (ram !== 'hugetlb') return undefined;
  const { free = 0, pageSize = 0 } = hostFacts().hugetlb;
  const needed = ramSizeFor(size, files);
  if (free * pageSize >= needed) return undefined;
  return `the host's pool has ${free} free huge pages; as root: echo ${Math.ceil(needed / 2 ** 21)} > /proc/sys/vm/nr_hugepages`;
}

/** Makes the files of a workload, with content. */
export function makeFiles(shmem: Shmem, workload: Workload, size: number): ShmemFile[] {
  const bytes = size / workload.files;
  if (bytes % workload.folio !== 0)
    throw new KernelError('EINVAL', `${size} bytes are not ${workload.files} files of whole folios`);
  return Array.from({ length: workload.files }, () => {
    const file = shmem.memfdCreate('bench');
    if (workload.folio > PAGE_SIZE) file.adviseHuge();
    refill(file, workload, bytes);
    return file;
  });
}

/** Gives an empty or used file its content anew: all of it, or in each 64 KiB one page. */
export function refill(file: ShmemFile, workload: Workload, bytes: number): void {
  file.truncate(0);
  if (workload.content === 'sparse') {
    const page = CONTENT.subarray(0, PAGE_SIZE);
    for (let at = 0; at < bytes; at += SPARSE_STEP) file.pwrite(page, at);
    file.truncate(bytes);
    return;
  }
  // A range of the size that a folio shall have gets one folio: the largest that fits.
  const step = workload.folio === MEDIUM.folio ? workload.folio : bytes;
  for (let at = 0; at < bytes; at += step) file.allocate(at, step);
  using mapped = file.map();
  fillBytes(mapped.bytes);
}

/** Content that no compression makes smaller. */
const CONTENT = new Uint8Array(2 ** 20);
fillRandom(new Uint32Array(CONTENT.buffer), 0x5eed);

/** Writes every byte. */
export function fillBytes(target: Uint8Array): void {
  for (let at = 0; at < target.length; at += CONTENT.length)
    target.set(target.length - at < CONTENT.length ? CONTENT.subarray(0, target.length - at) : CONTENT, at);
}

/** Where the page in the midst of so many bytes begins. */
export function middleOf(size: number): number {
  return Math.floor(size / 2 / PAGE_SIZE) * PAGE_SIZE;
}

/** A sink small enough to stay in the processor's cache. */
const SINK = new Uint8Array(2 ** 18);

/** Reads every byte, and writes none to memory. Says how many. */
export function readBytes(source: Uint8Array): number {
  for (let at = 0; at < source.length; at += SINK.length)
    SINK.set(source.length - at < SINK.length ? source.subarray(at) : source.subarray(at, at + SINK.length));
  return source.length;
}

/** Reads a byte of each page, so that all of it is in this process's page tables. */
export function touchBytes(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += PAGE_SIZE) sum += bytes[at];
  return sum;
}
