/**
 * A thousand handovers in a row on one RAM, random files coming and going: what a generation takes,
 * it gives back.
 */
import { PAGE_SIZE, Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { boot } from '@liveupdate/kho';
import { ShmemFile } from '@liveupdate/shmem';
import { expect, test } from 'vitest';
import { coldKernel, contents, pattern, start, type TestKernel } from './test-kernel.ts';

const HANDOVERS = 1_000;
const MiB = 2 ** 20;

/** What a file must hold. */
interface Kept {
  readonly size: number;
  readonly pattern: number;
  readonly at: number;
}

function fill(file: ShmemFile, random: Prng): Kept {
  const kept = { size: 1 + random.below(20_000), pattern: random.below(200), at: random.below(5) * 3000 };
  if (random.below(4) === 0) file.adviseHuge();
  file.pwrite(pattern(kept.size, kept.pattern), kept.at);
  return kept;
}

/** Free frames where no file is there, and none is preserved. */
function memory({ kho: { pages } }: TestKernel): number[] {
  return [pages.freePages, pages.freeScratchPages];
}

/** Hands over, and lets the next kernel take over. */
async function next({ kho, luo }: TestKernel): Promise<TestKernel> {
  await luo.reboot();
  return start(boot(kho.ram, kho.entry, { freeMemory: 'keep' }));
}

test(`${HANDOVERS} handovers from seed ${seed}`, async () => {
  const random = new Prng(seed);
  let kernel = coldKernel({}, 8 * MiB, { scratch: [{ addr: 4 * MiB, size: MiB }] });
  let kept = new Map<bigint, Kept>();
  const baselines: number[][] = [];
  let carried = 0;
  let moved = 0;
  for (let generation = 1; generation <= HANDOVERS; generation++) {
    const quiet = generation % 100 === 1; // nothing is handed over: the same memory must be free as the first time
    const incoming = kernel.luo.incomingSessions.length > 0 ? kernel.luo.retrieveSession('s') : undefined;
    const files = new Map<bigint, ShmemFile>();
    for (const [token, want] of kept) {
      if (random.below(4) === 0) continue; // nobody asks for it: finish frees it
      const file = await incoming!.retrieve(token, ShmemFile);
      expect(file.size).toBe(want.at + want.size);
      const is = Buffer.from(contents(file).subarray(want.at));
      if (!is.equals(Buffer.from(pattern(want.size, want.pattern)))) expect.fail(`file ${token} has changed`);
      carried += 1;
      files.set(token, file);
    }
    await incoming?.finish();
    kernel.kho.commit();
    kept = new Map([...kept].filter(([token]) => files.has(token)));
    for (const [token, file] of files) {
      if (!quiet && random.below(3) !== 0) continue;
      file.close();
      files.delete(token);
      kept.delete(token);
    }
    if (quiet) {
      expect(kernel.shmem.used).toBe(0);
      kernel.kho.pages.assertConsistent();
      baselines.push(memory(kernel));
    } else {
      // Most of RAM is in use, so that new files lie in scratch too, and must be moved out of it.
      const hogs = new Uint32Array(kernel.kho.pages.freePages - 4);
      kernel.kho.pages.allocBulk(hogs, 0, hogs.length, { taken: 'when touched' });
      for (let i = 0; i < 2 + (generation % 3); i++) {
        const token = BigInt(generation * 10 + i);
        const file = kernel.shmem.memfdCreate(`f${token}`);
        kept.set(token, fill(file, random));
        files.set(token, file);
      }
      moved += memory(kernel)[1] < MiB / PAGE_SIZE ? 1 : 0;
      kernel.kho.pages.putBulk(hogs);
      const session = kernel.luo.createSession('s');
      if (generation % 2 === 0) await session.preserveAll(files);
      else for (const [token, file] of files) await session.preserve(file, token);
      expect(memory(kernel)[1]).toBe(MiB / PAGE_SIZE); // all of it was moved out
    }
    kernel = await next(kernel);
  }
  expect(carried).toBeGreaterThan(1000);
  expect(moved).toBeGreaterThan(10);
  expect(baselines).toHaveLength(HANDOVERS / 100);
  // The first one has no metadata of a kernel before it in memory: from the second on they are the
  // same.
  expect(new Set(baselines.slice(1).map(String)).size).toBe(1);
});
