/**
 * Mapping part of a file with nothing around it: mmap with MAP_POPULATE, munmap, and a buffer over
 * it.
 */
import koffi from 'koffi';
import { assert } from '@liveupdate/base';
import { touchBytes } from './workload.ts';

const PROT_NONE = 0;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const MAP_FAILED = 2n ** 64n - 1n;

type Address = bigint;

const libc = koffi.load(null);
const mmap = libc.func('void *mmap(void *, size_t, int, int, int, int64_t)') as (
  at: Address | null,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => Address;
const munmap = libc.func('int munmap(void *, size_t)') as (address: Address, length: number) => number;

/** A part of a file. */
export interface FilePart {
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
}

function mapAt(at: Address | null, { fd, offset, length }: FilePart, flags: number): Address {
  const address = mmap(at, length, PROT_READ_WRITE, MAP_SHARED | MAP_POPULATE | flags, fd, offset);
  assert(address !== MAP_FAILED, 'a file that another mapping shows can be mapped');
  return address;
}

/**
 * Maps a part under a new buffer, touches each page and unmaps it, as a program in JavaScript has
 * to.
 */
export function mapWithBuffer(part: FilePart): void {
  const address = mapAt(null, part, 0);
  const buffer = koffi.view(address, part.length);
  touchBytes(new Uint8Array(buffer));
  (buffer as ArrayBuffer & { transfer(length: number): ArrayBuffer }).transfer(0);
  munmap(address, part.length);
}

/**
 * A place that is mapped again and again under one buffer: the engine has nothing to do, as in a
 * program in C.
 */
export class BarePlace implements Disposable {
  readonly #address: Address;
  readonly #length: number;
  readonly #bytes: Uint8Array;

  constructor(length: number) {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    this.#address = mmap(null, length, PROT_NONE, flags, -1, 0);
    this.#length = length;
    this.#bytes = new Uint8Array(koffi.view(this.#address, length));
  }

  /** Maps a part, touches each page and unmaps it. */
  map(part: FilePart): void {
    mapAt(this.#address, part, MAP_FIXED);
    touchBytes(this.#bytes);
    munmap(this.#address, this.#length);
  }

  [Symbol.dispose](): void {
    (this.#bytes.buffer as ArrayBuffer & { transfer(length: number): ArrayBuffer }).transfer(0);
  }
}
