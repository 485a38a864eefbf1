/**
 * Everything that can fail, failing: each allocation once, each callback once. The loops end when
 * all were hit.
 */
import { KernelError } from '@liveupdate/base';
import type { PreservableFile } from '@liveupdate/luo-core';
import { tryChange } from './changes.ts';
import { HERE, THERE, HandlerFault, textOf, type CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { CallbackFailure } from './callback-failure.ts';
import { Fuse } from './neighbour.ts';
import { asFault, isTimeout } from './watch.ts';
import {
  checkNothingLeft,
  finish,
  handedOver,
  incoming,
  must,
  newSession,
  preserve,
  preserved,
  retrieve,
} from './scenario.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { firstKernel, nextKernel, type Handed, type TestKernel } from './kernel.ts';

/** More places to fail than any handler has; whoever gets there does not end. */
const MOST = 10_000;

export function failureTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    {
      name: 'each allocation of preserve fails once',
      run: () => untilUnhit((n) => failPreserve(suite, n)),
      uses: HERE,
    },
    {
      name: 'each allocation of unpreserve fails once',
      run: () => untilUnhit((n) => failUnpreserve(suite, n)),
      uses: HERE,
    },
    { name: 'each allocation of freeze fails once', run: () => untilUnhit((n) => failFreeze(suite, n)) },
    { name: 'each allocation of retrieve fails once', run: () => failRetrieves(suite), uses: THERE },
    { name: 'each allocation of finish fails once', run: () => failFinishes(suite), uses: THERE },
    { name: 'each callback fails once', run: () => untilUnhit((n) => new CallbackFailure(suite, n).run()) },
  ];
}

/** Runs `attempt` with 1, 2, 3, ... until it says that nothing was hit any more. */
export async function untilUnhit(attempt: (n: number) => Promise<boolean>): Promise<void> {
  for (let n = 1; await attempt(n); n++)
    if (n === MOST) throw new Error('the failures do not come to an end');
}

/** Runs a step with allocation `n` failing. What the handler throws then must be that failure. */
async function withFailure<F extends PreservableFile>(
  { parts: { pages }, watch }: TestKernel<F>,
  n: number,
  callback: CallbackName,
  step: () => Promise<unknown>,
): Promise<{ isHit: boolean; hasFailed: boolean }> {
  const fuse = new Fuse(n);
  pages.beforeAllocation = () => fuse.touch('allocation');
  let hasFailed = false;
  try {
    await step();
  } catch (error) {
    hasFailed = true;
    watch.check();
    if (fuse.blown === undefined || isTimeout(error)) throw asFault(watch, callback, error);
    if (!(error instanceof KernelError)) {
      const rule = `throws ${textOf(error)} when allocation ${n} fails: it must pass the KernelError on`;
      throw new HandlerFault(watch.throwerOf(error) ?? watch.ownerOf(callback), rule, { cause: error });
    }
  } finally {
    pages.beforeAllocation = undefined;
  }
  return { isHit: fuse.blown !== undefined, hasFailed };
}

const when = (n: number) => ` when allocation ${n} fails`;

/**
 * One file that preserve saves, or three that preserveAll does.
 * In a fresh kernel each time: a node of the map that a failed attempt left would hide the next
 * failure.
 */
export async function failPreserve<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  n: number,
  callback: 'preserve' | 'preserveAll' = 'preserve',
): Promise<boolean> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const atFirst = kernel.picture();
  const files: F[] = [];
  for (const changes of callback === 'preserve' ? [1] : [1, 2, 3]) files.push(await kernel.file(changes));
  const save = () =>
    callback === 'preserve'
      ? session.preserve(files[0], 1)
      : session.preserveAll(files.map((file, i) => [i + 1, file]));
  const before = kernel.picture();
  const { isHit, hasFailed } = await withFailure(kernel, n, callback, save);
  if (hasFailed) {
    kernel.checkMemory(before, callback, when(n));
    for (const [i, file] of files.entries()) {
      if (!(await kernel.isChanged(file, i + 1)))
        throw kernel.watch.fault(callback, `leaves the file other than it was${when(n)}`);
      await must(kernel, callback, () => suite.change(file));
    }
    await must(kernel, callback, save);
  }
  for (const i of files.keys()) await must(kernel, 'unpreserve', () => session.unpreserve(i + 1));
  kernel.checkTakenBack(before, 'unpreserve', when(n));
  for (const file of files) await kernel.release(file);
  kernel.checkMemory(atFirst, 'unpreserve', when(n));
  return isHit;
}

async function failUnpreserve<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  n: number,
): Promise<boolean> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const before = kernel.picture();
  const file = await kernel.file(1);
  await preserve(kernel, session, file, 1);
  const { isHit, hasFailed } = await withFailure(kernel, n, 'unpreserve', () => session.unpreserve(1));
  if (hasFailed) await must(kernel, 'unpreserve', () => session.unpreserve(1));
  await kernel.release(file);
  kernel.checkMemory(before, 'unpreserve', when(n));
  return isHit;
}

async function failFreeze<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  n: number,
): Promise<boolean> {
  const kernel = firstKernel(suite);
  const { files } = await preserved(kernel, [1]);
  // So that there is something to record anew.
  const changes = (await tryChange(kernel, files[0])) ? 2 : 1;
  const before = kernel.picture();
  const { isHit, hasFailed } = await withFailure(kernel, n, 'freeze', () => kernel.luo.reboot());
  if (hasFailed) kernel.checkMemory(before, 'freeze', when(n));
  else await must(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
  const next = nextKernel(suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session, before: atFirst } = incoming(next);
  await next.release(await retrieve(next, session, 1, changes));
  await finish(next, session);
  await checkNothingLeft(next, atFirst, 'finish', `, of a handover that was tried again${when(n)}`);
  return isHit;
}

async function failRetrieves<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const handed = await handedOver(suite, [1, 2]);
  await untilUnhit((n) => failRetrieve(suite, handed, n));
}

async function failRetrieve<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  handed: Handed,
  n: number,
): Promise<boolean> {
  const kernel = nextKernel(suite, handed);
  const { session, before } = incoming(kernel);
  const files: F[] = [];
  const { isHit, hasFailed } = await withFailure(kernel, n, 'retrieve', async () => {
    files.push((await session.retrieve(1)) as F);
  });
  if (hasFailed) {
    const again = await session.retrieve(1).catch((error: unknown) => error);
    if (!(again instanceof KernelError))
      throw kernel.watch.fault(
        'retrieve',
        `runs again after it failed: LUO must have remembered that${when(n)}`,
      );
  }
  files.push(await retrieve(kernel, session, 2, 2));
  await finish(kernel, session);
  for (const file of files) await kernel.release(file);
  await checkNothingLeft(kernel, before, 'retrieve', when(n));
  return isHit;
}

async function failFinishes<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const handed = await handedOver(suite, [1, 2]);
  await untilUnhit(async (n) => {
    const kernel = nextKernel(suite, handed);
    const { session, before } = incoming(kernel);
    const { isHit } = await withFailure(kernel, n, 'finish', () => session.finish());
    await checkNothingLeft(kernel, before, 'finish', when(n));
    return isHit;
  });
}
