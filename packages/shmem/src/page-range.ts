/** Pages of a file that are talked about together. */
import type { PageIndex, Pfn } from '@liveupdate/base';

export interface PageRange {
  readonly index: PageIndex;
  readonly count: number;
}

/** `count` pages side by side in the file and in RAM; pfn 0: a hole. */
export type PageRunVisitor = (index: PageIndex, count: number, pfn: Pfn) => void;
