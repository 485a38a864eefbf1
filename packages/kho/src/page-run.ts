/**
 * How pages in a row become keys: the same cuts on both sides of a handover (kernel:
 * __kho_preserve_order and kho_restore_pages).
 */
import { log2Floor, trailingZeros, type Pfn } from '@liveupdate/base';
import { MAX_RUN_ORDER } from './radix-key.ts';

/** Cuts `count` pages in a row into aligned power-of-two runs. */
export function forEachPageRun(pfn: Pfn, count: number, visit: (pfn: Pfn, order: number) => void): void {
  let at = pfn;
  let left = count;
  while (left > 0) {
    const order = Math.min(trailingZeros(at), log2Floor(left), MAX_RUN_ORDER);
    visit(at, order);
    at += 2 ** order;
    left -= 2 ** order;
  }
}
