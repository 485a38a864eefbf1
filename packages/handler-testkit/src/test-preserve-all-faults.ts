/** Faults of test-faults.ts that are of preserveAll, and one that is right. */
import { KernelError } from '@liveupdate/base';
import type { FileHandler, PreserveAllContext } from '@liveupdate/luo-core';
import { sheets, type Fault } from './test-broken.ts';
import type { Sheets } from './test-sheets.ts';

const REFUSED = 'a list with a file that is refused leaves nothing';

type Saved = { data: number | bigint }[];

/** Preserves one after the other, and takes them back where one fails. */
export async function inOneStep<F extends object>(
  handler: FileHandler<F>,
  { files, flbs }: PreserveAllContext<F>,
): Promise<Saved> {
  const saved: Saved = [];
  try {
    for (const file of files) saved.push(await handler.preserve({ file, flbs }));
  } catch (error) {
    for (const [i, { data }] of saved.entries())
      await handler.unpreserve({ file: files[i], data: BigInt(data), flbs });
    throw error;
  }
  return saved;
}

export const preserveAllFaults: readonly Fault[] = [
  {
    fault: 'preserveAll is not undone where an allocation fails',
    test: 'each allocation of preserveAll fails once',
    message:
      "handler 'sheets-v1': preserveAll() leaves 5 pages at 0x…, 0x…, 0x…, ... preserved for the next kernel: preserveAll() marked them, and nothing took that back when allocation 2 fails",
    define: sheets((_, handler) => ({
      async preserveAll({ files, flbs }) {
        const saved: Saved = [];
        for (const file of files) saved.push(await handler.preserve({ file, flbs }));
        return saved;
      },
    })),
  },
  {
    fault: 'preserveAll returns the data of its files in another order',
    test: 'files that are preserved in one step are taken back one by one',
    message:
      "handler 'sheets-v1': preserveAll() does not leave of each file what preserve() leaves: when 2 of 3 files are unpreserved, 12 pages are preserved, and 10 where preserve() ran for each (is its data in the order of the files?)",
    define: sheets((_, handler) => ({
      preserveAll: async (context) => (await inOneStep(handler, context)).reverse(),
    })),
  },
  {
    fault: 'preserveAll leaves a page with each call',
    test: 'files that are preserved in one step are taken back one by one',
    message:
      "handler 'sheets-v1': preserveAll() leaves 1 page at 0x… preserved for the next kernel: preserveAll() marked it, and nothing took that back when its files are unpreserved",
    define: sheets(({ kho }, handler) => ({
      async preserveAll(context) {
        const saved = await inOneStep(handler, context);
        kho.allocPreserve(8); // a list of them, which nobody takes back
        return saved;
      },
    })),
  },
  {
    fault: 'preserveAll does not record what preserve does',
    test: 'files that are preserved in one step arrive as those preserved one by one',
    message:
      "handler 'sheets-v1': preserveAll() does not do for each file what preserve() does: afterwards retrieve() gives a file that is not as it was at the handover: same() says no",
    define: sheets((_, handler) => {
      const known = new WeakSet<Sheets>(); // to be recorded anew
      return {
        preserve(context) {
          known.add(context.file);
          return handler.preserve(context);
        },
        preserveAll: (context) => inOneStep(handler, context),
        freeze: (context) => (known.has(context.file) ? handler.freeze?.(context) : undefined),
      };
    }),
  },
  {
    fault: 'preserveAll remembers files that were taken back',
    test: REFUSED,
    message: "handler 'sheets-v1': preserveAll() throws where nothing is wrong: EBUSY: saved already",
    define: sheets((_, handler) => {
      const known = new WeakSet<Sheets>();
      return {
        preserveAll(context) {
          if (context.files.some((file) => known.has(file))) throw new KernelError('EBUSY', 'saved already');
          for (const file of context.files) known.add(file);
          return inOneStep(handler, context);
        },
      };
    }),
  },
];
