/**
 * Taking back: unpreserve is the exact inverse of preserve, and a handover that is called off
 * leaves everything as it was.
 */
import { KernelError } from '@liveupdate/base';
import type { PreservableFile } from '@liveupdate/luo-core';
import { countReferences, referencesText } from './references.ts';
import { HERE, type CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { Neighbour } from './neighbour.ts';
import {
  checkNothingLeft,
  finish,
  incoming,
  must,
  newSession,
  preserve,
  preserved,
  retrieve,
} from './scenario.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { firstKernel, nextKernel, SESSION, type TestKernel } from './kernel.ts';
import type { MemoryPicture } from './memory-picture.ts';

export function undoTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    { name: 'unpreserve takes everything back, again and again', run: () => unpreserves(suite), uses: HERE },
    { name: 'closing the session takes everything back', run: () => closes(suite), uses: HERE },
    { name: 'a file that is preserved already is refused', run: () => preservedTwice(suite), uses: HERE },
    { name: 'a handover that is called off leaves files as they were', run: () => calledOff(suite) },
    { name: "another file's freeze fails", run: () => freezeFails(suite) },
  ];
}

async function unpreserves<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const atFirst = kernel.picture();
  const file = await kernel.file(1);
  for (let changes = 1; changes < 4; changes++) {
    const before = kernel.picture();
    const references = countReferences(file);
    await preserve(kernel, session, file, 1);
    await must(kernel, 'unpreserve', () => session.unpreserve(1));
    kernel.checkTakenBack(before, 'unpreserve');
    const extra = references();
    if (extra !== 0) throw kernel.watch.fault('unpreserve', referencesText(extra));
    await checkUsable(kernel, file, changes, 'unpreserve');
  }
  await kernel.release(file);
  kernel.checkMemory(atFirst, 'unpreserve');
}

/** A file that is not preserved can be changed, and is as it should be then. */
export async function checkUsable<F extends PreservableFile>(
  kernel: TestKernel<F>,
  file: F,
  changes: number,
  callback: CallbackName,
): Promise<void> {
  if (!(await kernel.isChanged(file, changes)))
    throw kernel.watch.fault(callback, 'leaves the file other than it was: same() says no');
  await must(kernel, callback, () => kernel.suite.change(file));
  if (!(await kernel.isChanged(file, changes + 1)))
    throw kernel.watch.fault(callback, 'leaves a file that cannot be changed as before');
}

async function closes<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const atFirst = kernel.picture();
  const files = [await kernel.file(0), await kernel.file(1), await kernel.file(2)];
  const before = kernel.picture();
  const session = await newSession(kernel);
  for (const [i, file] of files.entries()) await preserve(kernel, session, file, i + 1);
  await must(kernel, 'unpreserve', () => session.close());
  kernel.checkTakenBack(before, 'unpreserve');
  for (const [i, file] of files.entries()) {
    await checkUsable(kernel, file, i, 'unpreserve');
    await kernel.release(file);
  }
  kernel.checkMemory(atFirst, 'unpreserve');
}

async function preservedTwice<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const { session, files } = await preserved(kernel, [1]);
  const other = kernel.luo.createSession('other');
  await other.preserve(new Neighbour(1n), 1);
  const before = kernel.picture();
  for (const [where, token] of [[session, 2] as const, [other, 2] as const]) {
    const code = await codeOf(() => where.preserve(files[0], token));
    if (code !== 'EBUSY')
      throw kernel.watch.fault(
        'getId',
        `gives one file two ids: preserving it twice must end with EBUSY, not ${code}`,
      );
  }
  kernel.checkMemory(before, 'preserve', ', though the file was preserved already');
  await must(kernel, 'unpreserve', () => session.unpreserve(1));
  await preserve(kernel, other, files[0], 2);
}

export async function codeOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'success';
  } catch (error) {
    if (error instanceof KernelError) return error.code;
    throw error;
  }
}

async function calledOff<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const atFirst = kernel.picture();
  const files = [await kernel.file(1), await kernel.file(2)];
  for (const [i, file] of files.entries()) await preserve(kernel, session, file, i + 1);
  let before: MemoryPicture | undefined;
  for (let i = 0; i < 3; i++) {
    await must(kernel, 'freeze', () => kernel.handOver());
    await must(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
    if (before) kernel.checkNotMore(before, 'unfreeze', ' that a handover is called off');
    before = kernel.picture();
    await checkContent(kernel, files);
  }
  await checkArrival(kernel);
  await kernel.luo.cancelReboot();
  for (const token of [2, 1]) await must(kernel, 'unpreserve', () => session.unpreserve(token));
  for (const file of files) await kernel.release(file);
  kernel.checkMemory(atFirst, 'unpreserve', ' after a handover that was called off');
}

async function checkContent<F extends PreservableFile>(kernel: TestKernel<F>, files: F[]): Promise<void> {
  for (const [i, file] of files.entries()) {
    if (!(await kernel.isChanged(file, i + 1)))
      throw kernel.watch.fault(
        'unfreeze',
        'leaves the file other than it was before the handover that was called off',
      );
  }
}

/** Hands over files changed once and twice, and proves that they arrive. */
async function checkArrival<F extends PreservableFile>(kernel: TestKernel<F>): Promise<void> {
  const next = nextKernel(kernel.suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session, before } = incoming(next);
  for (const token of [1, 2]) await next.release(await retrieve(next, session, token, token));
  await finish(next, session);
  await checkNothingLeft(next, before);
}

async function freezeFails<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  let isFailing = true;
  let calls = 0; // the first neighbour's freeze succeeds, the second one's fails
  const kernel = firstKernel(suite, {
    beforeNeighbour: (callback) => {
      calls += callback === 'freeze' ? 1 : 0;
      if (callback === 'freeze' && isFailing && calls % 2 === 0)
        throw new KernelError('EIO', 'the test wants this freeze to fail');
    },
  });
  const session = kernel.luo.createSession(SESSION);
  await session.preserve(new Neighbour(1n), 0);
  const atFirst = kernel.picture();
  const files = [await kernel.file(1), await kernel.file(2)];
  await preserve(kernel, session, files[0], 1);
  await session.preserve(new Neighbour(2n), 3);
  await preserve(kernel, session, files[1], 2);
  let before: MemoryPicture | undefined;
  for (let i = 0; i < 3; i++) {
    const code = await codeOf(() => kernel.luo.reboot());
    if (code !== 'EIO')
      throw kernel.watch.fault(
        'freeze',
        `ends a handover with ${code} that another file's freeze called off`,
      );
    if (before) kernel.checkNotMore(before, 'unfreeze', " that another file's freeze fails");
    before = kernel.picture();
    await checkContent(kernel, files);
  }
  isFailing = false;
  await checkArrival(kernel);
  await kernel.luo.cancelReboot();
  await must(kernel, 'unpreserve', () => session.unpreserve(2));
  await session.unpreserve(3);
  await must(kernel, 'unpreserve', () => session.unpreserve(1));
  for (const file of files) await kernel.release(file);
  kernel.checkMemory(atFirst, 'unpreserve', " after another file's freeze failed");
}
