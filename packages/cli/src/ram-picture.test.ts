import { HEAD, PageTable, PRESERVED, SCRATCH } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { ramPicture } from './ram-picture.ts';
import { secondsOfWork } from './test-cli.ts';

const PAGE = 4096;

/** A folio in use, as the allocator notes it: flags of the whole folio at its head alone. */
function folio(table: PageTable, pfn: number, order: number, extra = 0): void {
  table.setFolios(pfn, 1, order, HEAD | extra, 1);
}

test('one frame per character: every kind has its sign, a tail that of its head', () => {
  const table = new PageTable(16 * PAGE);
  table.reserve(0, 1);
  table.setFlag(SCRATCH, 4, 4);
  folio(table, 2, 0);
  folio(table, 5, 0);
  folio(table, 8, 2, PRESERVED);
  folio(table, 12, 1);
  table.claimIncoming(14, 1);
  expect(ramPicture({ table, width: 8, rows: 2 })).toBe(
    [
      '   0 B B·▒·~▒~~',
      '32 KiB ████▒▒██',
      '       each character = 4 KiB: █ preserved, ▒ in use, ~ scratch, B boot page or reserved, · free',
    ].join('\n'),
  );
});

test('many frames per character: the majority, and preserved memory is never hidden', () => {
  const table = new PageTable(32 * PAGE);
  table.reserve(0, 1);
  folio(table, 4, 0, PRESERVED); // a quarter of its character
  folio(table, 8, 1, PRESERVED); // half
  folio(table, 12, 0);
  folio(table, 16, 1);
  folio(table, 18, 0);
  table.setFlag(SCRATCH, 20, 8);
  folio(table, 28, 2, PRESERVED);
  expect(ramPicture({ table, width: 8, rows: 1 })).toBe(
    [
      '0 B ·▓█·▒~~█',
      '    each character = 16 KiB: █ preserved, ▓ preserved in part, ▒ in use, ~ scratch, · free',
    ].join('\n'),
  );
});

test('a folio that goes on over characters and rows is preserved in all of them', () => {
  const table = new PageTable(24 * PAGE);
  folio(table, 8, 3, PRESERVED);
  expect(ramPicture({ table, width: 3, rows: 2 })).toBe(
    ['   0 B ··█', '48 KiB █··', '       each character = 16 KiB: █ preserved, · free'].join('\n'),
  );
});

test('a character stands for a power of two: there may be fewer rows, and the last one may be short', () => {
  const table = new PageTable(9 * PAGE);
  expect(ramPicture({ table, width: 4, rows: 3 })).toBe(
    ['   0 B ····', '16 KiB ····', '32 KiB ·', '       each character = 4 KiB: · free'].join('\n'),
  );
  expect(ramPicture({ table, width: 4, rows: 2 })).toBe(
    ['   0 B ····', '32 KiB ·', '       each character = 8 KiB: · free'].join('\n'),
  );
});

test('64 GiB are drawn at once', () => {
  const table = new PageTable(64 * 2 ** 30);
  table.reserve(0, 1);
  for (let pfn = 512; pfn < table.frames / 2; pfn += 512) folio(table, pfn, 9, PRESERVED);
  const before = process.cpuUsage();
  const picture = ramPicture({ table, width: 64, rows: 8 });
  expect(secondsOfWork(before)).toBeLessThan(2);
  expect(picture.split('\n')[3]).toBe(`24 GiB ${'█'.repeat(64)}`);
  expect(picture.split('\n')[8]).toBe('       each character = 128 MiB: █ preserved, · free');
});
