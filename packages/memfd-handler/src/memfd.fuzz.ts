/**
 * A memfd's record, chunk and array with any bytes in them: retrieve and finish end with a file or
 * a KernelError, no frame gets two owners and the page allocator stays whole. Run again what failed
 * with LIVEUPDATE_SEED.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import fc from 'fast-check';
import { ShmemFile } from '@liveupdate/shmem';
import { expect, test } from 'vitest';
import { contents, outcome, pattern } from './test-kernel.ts';
import { bootDamaged, handOver, wordAt, writeWord } from './test-records.ts';

const RUNS = isQuick ? 60 : 600;

const harm = fc.record({
  page: fc.constantFrom<'record' | 'chunk' | 'array'>('record', 'record', 'chunk', 'array', 'array'),
  word: fc.oneof(fc.nat(6), fc.nat(90)),
  value: fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.nat(70).map(BigInt),
    fc.nat(2047).map((pfn) => BigInt(pfn * PAGE_SIZE)),
    fc.nat(2047).map((pfn) => BigInt(pfn) | (3n << 52n)),
    fc.nat(63).map((bit) => -1n - BigInt(bit)), // flip one bit of what is there
  ),
});

test('any damage', async () => {
  const before = await handOver((file) => {
    file.adviseHuge();
    file.pwrite(pattern(30 * PAGE_SIZE), 3 * PAGE_SIZE);
  });
  let retrieved = 0;
  const property = fc.asyncProperty(
    fc.array(harm, { minLength: 1, maxLength: 3 }),
    fc.boolean(),
    async (harms, retrieve) => {
      const { luo, kho, shmem } = bootDamaged(before, (ram) => {
        for (const { page, word, value } of harms) {
          const pa = before[page] + word * 8;
          const old = wordAt(ram, pa).getBigUint64(0, true);
          writeWord(ram, pa, value < 0n ? old ^ (1n << (-1n - value)) : value);
        }
      });
      const session = luo.retrieveSession('s');
      if (retrieve) {
        let file: ShmemFile | undefined;
        const code = await outcome(async () => {
          file = await session.retrieve(1, ShmemFile);
        });
        if (file && file.size < 2 ** 24) contents(file);
        if (code === 'ok') retrieved += 1;
        kho.pages.assertConsistent();
        file?.close();
      }
      // Its neighbour comes back, or its page was claimed by the damaged record and the handler
      // says so.
      const other = await session.retrieve(2, ShmemFile).catch((error: unknown) => {
        if (!(error instanceof KernelError)) throw error;
        return undefined;
      });
      await session.finish();
      other?.close();
      kho.pages.assertConsistent();
      expect(shmem.used).toBe(0);
    },
  );
  await fc.assert(property, { seed, numRuns: RUNS });
  expect(retrieved).toBeGreaterThan(0);
});
