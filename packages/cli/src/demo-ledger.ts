/**
 * What one generation of the demo tells the next: a JSON text in a preserved file of its own. It is
 * written once more after it was preserved: a preserved file can still be overwritten in place, and
 * the next kernel sees the bytes as they are at the handover.
 */
import { assert, PAGE_SIZE } from '@liveupdate/base';
import type { ShmemFile } from '@liveupdate/shmem';
import type { FilePlan } from './demo-files.ts';

/** One handover; times in milliseconds. */
export interface UpdateFigures {
  /** Preserving all files. */
  preserve: number;
  /**
   * From the call of kexec to the freeze: RAM leaves the page tables, and everything is still
   * served.
   */
  callToFreeze: number;
  /** From the freeze, where serving ends, to the first byte read in the new generation. */
  blackout: number;
  /** Retrieving all files. */
  retrieve: number;
  /** Hashing all files. */
  verify: number;
  /** Ending the session. */
  finish: number;
  /** Anonymous memory of the process after preserving, in bytes: what it uses outside RAM. */
  outside: number;
}

export interface Ledger {
  readonly files: readonly FilePlan[];
  readonly generations: number;
  readonly json: boolean;
  readonly size: number;
  readonly ramSize: number;
  /** SHA-256 of each file as it was filled. */
  readonly hashes: readonly string[];
  /** Bytes in preserved folios. */
  preservedBytes: number;
  /** Folios by order. */
  folios: Partial<Record<string, number>>;
  /**
   * Bytes in pages of RAM that the process wrote while preserving, growth of its private memory,
   * and how that was measured.
   */
  written: { ram: number; anonymous: number; method: string };
  /** Picture of RAM, all files preserved. */
  picture: string;
  readonly updates: UpdateFigures[];
}

/**
 * Room for the ledger of so many files, bytes: 64 KiB for figures and the picture, and a hash and a
 * plan for each file.
 */
export function ledgerSize(files: number): number {
  return Math.ceil((65_536 + files * 256) / PAGE_SIZE) * PAGE_SIZE;
}

/** Writes the ledger over the whole file, which keeps its size. */
export function writeLedger(file: ShmemFile, ledger: Ledger): void {
  const text = new TextEncoder().encode(JSON.stringify(ledger));
  assert(text.length < file.size, 'the ledger has room for its text and an end');
  const bytes = new Uint8Array(file.size);
  bytes.set(text);
  file.pwrite(bytes, 0);
}

export function readLedger(file: ShmemFile): Ledger {
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)))) as Ledger;
}
