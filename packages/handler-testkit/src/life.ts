/**
 * The whole life of files over simulated handovers: they arrive, in any order, once, and nothing is
 * left of them in the end.
 */
import { KernelError } from '@liveupdate/base';
import type { PreservableFile } from '@liveupdate/luo-core';
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
import { THERE } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { firstKernel, nextKernel, type TestKernel } from './kernel.ts';
import { framesText } from './memory-picture.ts';
import { stillTest } from './still.ts';
import { countReferences, referencesText } from './references.ts';
import { asFault } from './watch.ts';

export function lifeTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    {
      name: 'the handler takes its files, and no others',
      run: () => takesItsFiles(suite),
      uses: ['canPreserve'],
    },
    stillTest(suite),
    { name: 'files arrive as they were', run: () => arrives(suite, [1, 2, 3]), uses: THERE },
    { name: 'files arrive in any order', run: () => arrives(suite, [2, 3, 1]), uses: THERE },
    { name: 'a file that is retrieved twice is one file', run: () => retrievedTwice(suite), uses: THERE },
    {
      name: 'what nobody retrieves is freed by finish',
      run: () => finishedWithoutRetrieve(suite, []),
      uses: THERE,
    },
    {
      name: 'some are retrieved, finish frees the others',
      run: () => finishedWithoutRetrieve(suite, [2]),
      uses: THERE,
    },
    { name: 'a finish that is refused changes nothing', run: () => finishRefused(suite), uses: THERE },
    {
      name: 'a retrieved file keeps the references of its users',
      run: () => keepsReferences(suite),
      uses: THERE,
    },
    { name: 'its owner may let go of a preserved file', run: () => ownerLetsGo(suite) },
  ];
}

/** After those of single rules: what breaks one of them is not found here first. */
export function generationTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    {
      name: 'a file lives on: changed, preserved again, handed over again',
      run: () => livesOn(suite),
      uses: THERE,
    },
  ];
}

async function takesItsFiles<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const { handler, watch } = kernel;
  if (!handler.canPreserve(await kernel.file()))
    throw watch.fault('canPreserve', 'refuses a file that make() made: it must say true');
  for (const other of [{}, [], new Map(), new Uint8Array(8), Object.create(null) as object]) {
    const answer: unknown = handler.canPreserve(other);
    if (answer !== false)
      throw watch.fault(
        'canPreserve',
        `says ${String(answer)} to an object that is none of its files: it must say false`,
      );
  }
}

/** @param order tokens in the order of retrieval */
async function arrives<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  order: number[],
): Promise<void> {
  const kernel = nextKernel(suite, await handedOver(suite, [0, 1, 2]));
  const { session, before } = incoming(kernel);
  const files: F[] = [];
  for (const token of order) files.push(await retrieve(kernel, session, token, token - 1));
  await finish(kernel, session);
  // Also after finish: the files are their users' alone.
  for (const [i, file] of files.entries()) {
    await must(kernel, 'finish', () => suite.change(file));
    if (!(await kernel.isChanged(file, order[i])))
      throw kernel.watch.fault(
        'finish',
        'harms a retrieved file: it is not as it must be when it is changed afterwards',
      );
    await kernel.release(file);
  }
  await checkNothingLeft(kernel, before);
}

async function livesOn<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  let handed = await handedOver(suite, [0]);
  for (let changes = 0; changes < 3; changes++) {
    const kernel: TestKernel<F> = nextKernel(suite, handed);
    const { session } = incoming(kernel);
    const file = await retrieve(kernel, session, 1, changes);
    await finish(kernel, session);
    await suite.change(file);
    await preserve(kernel, await newSession(kernel), file, 1);
    handed = await must(kernel, 'freeze', () => kernel.handOver());
  }
  const last = nextKernel(suite, handed);
  const { session, before } = incoming(last);
  await finish(last, session);
  await checkNothingLeft(last, before);
}

async function retrievedTwice<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = nextKernel(suite, await handedOver(suite, [1]));
  const { session, before } = incoming(kernel);
  const file = await retrieve(kernel, session, 1, 1);
  const again = await must(kernel, 'retrieve', () => session.retrieve(1));
  if (again !== file || kernel.watch.calls.get('retrieve') !== 1)
    throw kernel.watch.fault('retrieve', 'gives another file when it is asked again');
  await finish(kernel, session);
  await kernel.release(file);
  if (!(await kernel.isChanged(file, 1)))
    throw kernel.watch.fault('retrieve', 'gives a file that its second reference does not keep');
  await kernel.release(file);
  await checkNothingLeft(kernel, before);
}

/** @param retrieved tokens; the others are finished untried */
async function finishedWithoutRetrieve<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  retrieved: readonly number[],
): Promise<void> {
  const kernel = nextKernel(suite, await handedOver(suite, [0, 1, 2]));
  const { session, before } = incoming(kernel);
  const files: F[] = [];
  for (const token of retrieved) files.push(await retrieve(kernel, session, token, token - 1));
  await finish(kernel, session);
  for (const file of files) await kernel.release(file);
  await checkNothingLeft(kernel, before, 'finish', ', though nobody retrieved the file');
}

/** Another file of the session says no: whoever was asked before must only have looked. */
async function finishRefused<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  let refuses = true;
  const kernel = nextKernel(suite, await handedOver(suite, [1, 2]), {
    beforeNeighbour: (callback) => {
      if (callback === 'canFinish' && refuses) throw new KernelError('EBUSY', 'the test wants this');
    },
  });
  const { session, before } = incoming(kernel);
  const files = [await retrieve(kernel, session, 1, 1)];
  const asked = kernel.picture();
  const refused = await must(kernel, 'canFinish', () =>
    session.finish().then(
      () => undefined,
      (error: unknown) => error,
    ),
  );
  if (!(refused instanceof KernelError && refused.code === 'EBUSY'))
    throw asFault(kernel.watch, 'canFinish', refused);
  const taken = kernel.takenSince(asked);
  if (taken.length > 0)
    throw kernel.watch.fault(
      'canFinish',
      `takes ${framesText(taken)} of the previous kernel: it must only look, another file may refuse to be finished`,
    );
  kernel.checkMemory(asked, 'canFinish', ', though another file refused to be finished');
  files.push(await retrieve(kernel, session, 2, 2));
  refuses = false;
  await finish(kernel, session);
  for (const file of files) await kernel.release(file);
  await checkNothingLeft(kernel, before);
}

async function keepsReferences<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = nextKernel(suite, await handedOver(suite, [1]));
  const { session, before } = incoming(kernel);
  const file = await retrieve(kernel, session, 1, 1);
  // What LUO itself takes and drops it does between the callbacks.
  const references = countReferences(file, () => kernel.watch.memory.current !== undefined);
  await finish(kernel, session);
  const extra = references();
  if (extra !== 0)
    throw kernel.watch.fault('finish', `${referencesText(extra)} (LUO drops its own after it)`);
  await kernel.release(file);
  await checkNothingLeft(kernel, before);
}

async function ownerLetsGo<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const { session, files } = await preserved(kernel, [1, 2]);
  for (const file of files) await kernel.release(file);
  const next = nextKernel(suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session: left, before } = incoming(next);
  for (const token of [1, 2]) await next.release(await retrieve(next, left, token, token));
  await finish(next, left);
  await checkNothingLeft(next, before);
  await kernel.luo.cancelReboot();
  await must(kernel, 'unpreserve', () => session.close());
}
