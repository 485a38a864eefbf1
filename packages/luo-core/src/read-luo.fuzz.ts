/**
 * Records of sessions with any bytes in them: reading ends with records or with a KernelError, and
 * the kernel that boots on them works. Run again what failed with LIVEUPDATE_SEED.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { boot } from '@liveupdate/kho';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import { counterHandler, outcome } from './test-kernel.ts';
import { copyOf, handedOver, writeWord, type Records } from './test-records.ts';

const harm = fc.record({
  page: fc.constantFrom<keyof Records['pa']>('luo', 'sessions', 'a', 'b'),
  at: fc.oneof(fc.nat(31), fc.nat(200)).map((word) => word * 8),
  value: fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.nat(70).map(BigInt),
    fc.nat(255).map((pfn) => BigInt(pfn * PAGE_SIZE)),
  ),
});

test('any damage', async () => {
  const original = await handedOver();
  let read = 0;
  const property = fc.asyncProperty(fc.array(harm, { minLength: 1, maxLength: 4 }), async (harms) => {
    const { ram, pa } = copyOf(original);
    for (const { page, at, value } of harms) writeWord(ram, pa[page] + at, value);
    const kho = boot(ram, original.entry, { freeMemory: 'keep' });
    const luo = new LiveUpdateOrchestrator({ kho, handlers: [counterHandler(kho)] });
    const code = await outcome(() => luo.incomingSessions);
    expect(['ok', 'EIO']).toContain(code);
    kho.pages.assertConsistent();
    luo.createSession('works');
    if (code === 'EIO') return;
    read += 1;
    for (const session of luo.incomingSessions) {
      for (const { token } of session.files) {
        await session.retrieve(token).catch((error: unknown) => {
          if (!(error instanceof KernelError)) throw error;
        });
      }
    }
    kho.pages.assertConsistent();
  });
  await fc.assert(property, { seed, numRuns: 400 });
  expect(read).toBeGreaterThan(0);
});
