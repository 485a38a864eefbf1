/**
 * Older formats: a handover that the handler as it was has written is read by the handler as it is.
 */
import type { PreservableFile } from '@liveupdate/luo-core';
import type { SuiteTest } from './judge.ts';
import { checkNothingLeft, finish, incoming, must, preserved } from './scenario.ts';
import type { FileHandlerSuite, OlderFormat } from './suite-options.ts';
import { firstKernel, nextKernel } from './kernel.ts';

export function olderTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    { name: 'every older format that it declares to read is shown', run: () => allShown(suite), uses: [] },
    ...(suite.older ?? []).map((older, i) => ({
      name: `files of its older format ${i + 1} arrive`,
      run: () => olderArrives(suite, older),
      uses: ['retrieve', 'canFinish', 'finish'] as const, // the rest is another handler's
    })),
  ];
}

// eslint-disable-next-line @typescript-eslint/require-await -- a test is a promise
async function allShown<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const shown = (suite.older ?? []).map((older) => older.handler(kernel.parts).compatible);
  const declared = kernel.handler.alsoReads ?? [];
  for (const compatible of declared) {
    if (!shown.includes(compatible))
      throw kernel.watch.fault(
        'retrieve',
        `declares to read '${compatible}': give the suite the handler that wrote it (older)`,
      );
  }
  for (const compatible of shown) {
    if (!declared.includes(compatible))
      throw kernel.watch.fault(
        'retrieve',
        `is shown '${compatible}' and does not declare to read it (alsoReads)`,
      );
  }
}

async function olderArrives<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  { handler, same = suite.same }: OlderFormat<F>,
): Promise<void> {
  const kernel = firstKernel(suite, { handler });
  await preserved(kernel, [0, 1, 2]);
  const next = nextKernel(suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session, before } = incoming(next);
  for (const token of [3, 1]) {
    const file = (await must(next, 'retrieve', () => session.retrieve(token))) as F;
    if (!(await next.isChanged(file, token - 1, same)))
      throw next.watch.fault(
        'retrieve',
        `gives a file of '${kernel.watch.compatible}' that is not as it was: same() says no`,
      );
    await next.release(file);
  }
  await finish(next, session); // token 2 was not retrieved
  await checkNothingLeft(next, before, 'finish', ` (format '${kernel.watch.compatible}')`);
}
