/**
 * Memory as it is in a machine that has run for long: free pages come in no order, and two that are
 * asked for one after the other do not lie side by side.
 */
import { KernelError, Prng, type Pfn } from '@liveupdate/base';
import type { PageAllocator } from '@liveupdate/mm';

/** Among how many folios the one that is given is chosen. */
const CHOICE = 8;

/** @param seed gives the order */
export function scatter(pages: PageAllocator, seed: number): void {
  const prng = new Prng(seed * 0x9e37_79b9);
  const alloc = pages.alloc.bind(pages);
  const allocRuns = pages.allocRuns.bind(pages);
  const put = pages.put.bind(pages);

  pages.alloc = (order, options) => {
    const folios = [alloc(order, options)];
    try {
      while (folios.length < CHOICE) folios.push(alloc(order, options));
    } catch (error) {
      if (!(error instanceof KernelError)) throw error; // there are no more: fewer to choose from
    }
    const [chosen] = folios.splice(prng.below(folios.length), 1);
    for (const pfn of folios) put(pfn);
    return chosen;
  };

  pages.allocRuns = (count, options, visit) => {
    const singles: Pfn[] = [];
    try {
      allocRuns(count, options, (pfn, length) => {
        for (let i = 0; i < length; i++) singles.push(pfn + i);
      });
    } catch (error) {
      for (const pfn of singles) put(pfn);
      throw error;
    }
    while (singles.length > 0) visit(singles.splice(prng.below(singles.length), 1)[0], 1);
  };
}
