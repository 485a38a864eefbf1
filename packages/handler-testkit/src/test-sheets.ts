/** For tests: a file of many pages of the machine's memory that grows, and its handler. */
import { KernelError, layout, pfnToPhys, physToPfn, Undo, type Pfn } from '@liveupdate/base';
import type { Kho, PreservedBlock } from '@liveupdate/kho';
import type { FileHandler } from '@liveupdate/luo-core';
import type { PageAllocator } from '@liveupdate/mm';
import type { FileHandlerSuite, KernelParts } from './suite-options.ts';

/** Each sheet is a page with one number. A change adds a sheet. */
export class Sheets {
  readonly pages: PageAllocator;
  readonly pfns: Pfn[];
  isLocked = false;
  #references = 1;

  constructor(pages: PageAllocator, pfns: Pfn[] = []) {
    this.pages = pages;
    this.pfns = pfns;
  }

  add(): void {
    if (this.isLocked) throw new KernelError('EPERM', 'the sheets are locked');
    const pfn = this.pages.alloc(0);
    numberIn(this.pages.folioBytes(pfn))[0] = 100 + this.pfns.length;
    this.pfns.push(pfn);
  }

  /** The first sheet moves to another page. */
  move(): void {
    if (this.isLocked) throw new KernelError('EPERM', 'the sheets are locked');
    const pfn = this.pages.alloc(0);
    this.pages.folioBytes(pfn).set(this.pages.folioBytes(this.pfns[0]));
    this.pages.put(this.pfns[0]);
    this.pfns[0] = pfn;
  }

  get numbers(): number[] {
    return this.pfns.map((pfn) => numberIn(this.pages.folioBytes(pfn))[0]);
  }

  get(): void {
    this.#references += 1;
  }

  put(): void {
    this.#references -= 1;
    if (this.#references === 0) for (const pfn of this.pfns) this.pages.put(pfn);
  }
}

function numberIn({ buffer, byteOffset }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, 1);
}

const MOST_SHEETS = 500;

const SheetsSer = layout('sheets_ser', 8 + MOST_SHEETS * 8, {
  count: { at: 0, bytes: 8 },
  sheets: { at: 8, bytes: MOST_SHEETS * 8 }, // pa of each
});

const sheetAt = (i: number) => ({ at: SheetsSer.sheets.at + i * 8, bytes: 8 });

export function writeSheets(record: PreservedBlock, pfns: readonly Pfn[]): void {
  for (const [i, pfn] of pfns.entries()) record.setU64(sheetAt(i), pfnToPhys(pfn));
  record.setU64(SheetsSer.count, pfns.length);
}

/** The sheets of a record, in order. */
export function readSheets(record: PreservedBlock): Pfn[] {
  const count = record.getU64(SheetsSer.count);
  if (count > MOST_SHEETS) throw new KernelError('EINVAL', 'a record of sheets is damaged');
  return Array.from({ length: Number(count) }, (_, i) => {
    const pa = record.getNumber(sheetAt(i));
    const pfn = physToPfn(pa);
    if (pfnToPhys(pfn) !== pa) throw new KernelError('EINVAL', 'a sheet is no page');
    return pfn;
  });
}

/** Takes the sheets of a record over: all, or none. */
export function takeSheets(kho: Kho, data: bigint, order = (pfns: Pfn[]) => pfns): Pfn[] {
  const record = kho.at(data);
  using undo = new Undo();
  let pfns: Pfn[];
  try {
    pfns = order(readSheets(record));
  } finally {
    kho.restoreFree(data);
  }
  for (const pfn of pfns) {
    kho.restoreFolio(pfn);
    undo.add(() => {
      kho.pages.put(pfn);
    });
  }
  undo.keep();
  return pfns;
}

export function sheetsHandler({ kho, pages }: KernelParts): FileHandler<Sheets> {
  return {
    compatible: 'sheets-v1',
    canPreserve: (file): file is Sheets => file instanceof Sheets,
    preserve({ file }) {
      using undo = new Undo();
      const record = kho.allocPreserve(SheetsSer.SIZE);
      undo.add(() => {
        kho.unpreserveFree(record.pa);
      });
      kho.preserveFolios(Uint32Array.from(file.pfns));
      writeSheets(record, file.pfns);
      undo.keep();
      return { data: record.pa };
    },
    freeze({ file, data }) {
      const record = kho.at(data);
      kho.preserveFolios(Uint32Array.from(file.pfns.slice(readSheets(record).length))); // all or none
      writeSheets(record, file.pfns);
      return undefined;
    },
    unpreserve({ data }) {
      kho.unpreserveFolios(Uint32Array.from(readSheets(kho.at(data))));
      kho.unpreserveFree(data);
    },
    retrieve: ({ data }) => new Sheets(pages, takeSheets(kho, data)),
    finish({ data, retrieval }) {
      if (retrieval === 'untried') new Sheets(pages, takeSheets(kho, data)).put();
    },
  };
}

export const sheetsFiles: Omit<FileHandlerSuite<Sheets>, 'test' | 'handler'> = {
  make({ pages }) {
    const sheets = new Sheets(pages);
    for (let i = 0; i < 3; i++) sheets.add();
    return sheets;
  },
  change(file) {
    file.add();
  },
  same: (actual, expected) => String(actual.numbers) === String(expected.numbers),
};
