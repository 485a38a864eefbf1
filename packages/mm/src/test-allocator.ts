/**
 * What the tests of the page allocator share: small allocators, and what their free memory looks
 * like.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { expect } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageTable, SCRATCH } from './page-table.ts';

export const ENOMEM: unknown = expect.objectContaining({ code: 'ENOMEM' });

export interface Setup {
  frames?: number;
  /** First frame and number of frames. */
  scratch?: [number, number];
  /** Head and order. */
  incoming?: [number, number][];
}

/** An allocator whose frame 0 is reserved and whose memory is 0xdd everywhere. */
export function setup({ frames = 64, scratch, incoming = [] }: Setup = {}): PageAllocator {
  const ram = new HeapRam(frames * PAGE_SIZE);
  ram.bytes(0, ram.size).fill(0xdd);
  const table = new PageTable(ram.size);
  for (const [pfn, order] of incoming) table.claimIncoming(pfn, order);
  if (scratch) table.setFlag(SCRATCH, ...scratch);
  table.reserve(0, 1);
  table.markStale();
  return new PageAllocator(ram, table);
}

/** What the free memory looks like. */
export function freeRuns(pages: PageAllocator): [number, number][] {
  const runs: [number, number][] = [];
  pages.forEachFreeRun((pfn, count) => {
    const last = runs.at(-1);
    if (last && last[0] + last[1] === pfn) last[1] += count;
    else runs.push([pfn, count]);
  });
  return runs;
}

export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
