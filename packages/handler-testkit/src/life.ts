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
import { firstKernel, nextKernel, type TestKernel } from './kernel.ts';

/** A test of the suite: it rejects where the handler fails. */
export interface SuiteTest {
  readonly name: string;
  readonly run: () => Promise<void>;
}

export function lifeTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    { name: 'make, change and same are as the suite needs them', run: () => checkSubject(suite) },
    { name: 'the handler takes its files, and no others', run: () => takesItsFiles(suite) },
    { name: 'files arrive as they were', run: () => arrives(suite, [1, 2, 3]) },
    { name: 'files arrive in any order', run: () => arrives(suite, [2, 3, 1]) },
    { name: 'what is changed after preserve arrives, or is refused', run: () => changedAfterPreserve(suite) },
    { name: 'a file lives on: changed, preserved again, handed over again', run: () => livesOn(suite) },
    { name: 'a file that is retrieved twice is one file', run: () => retrievedTwice(suite) },
    { name: 'what nobody retrieves is freed by finish', run: () => finishedWithoutRetrieve(suite, []) },
    { name: 'some are retrieved, finish frees the others', run: () => finishedWithoutRetrieve(suite, [2]) },
    { name: 'its owner may let go of a preserved file', run: () => ownerLetsGo(suite) },
  ];
}

async function checkSubject<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const file = await kernel.file();
  for (let changes = 0; changes < 4; changes++) {
    for (let other = 0; other < 4; other++) {
      const isSame = await kernel.isChanged(file, other);
      if (isSame === (changes === other)) continue;
      const files = `a file changed ${changes} times and one changed ${other} times`;
      throw new Error(
        `the suite's own same() calls ${files} ${isSame ? 'equal' : 'different'}: mend make, change or same`,
      );
    }
    await suite.change(file);
  }
  if ((await kernel.file()) === file)
    throw new Error("the suite's make() must make a file of its own each time");
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

async function changedAfterPreserve<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const { files } = await preserved(kernel, [0, 1]);
  let isRefused = false;
  try {
    await suite.change(files[1]);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    isRefused = true;
  }
  const next = nextKernel(suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session, before } = incoming(next);
  const other = await retrieve(next, session, 1, 0);
  const file = (await must(next, 'retrieve', () => session.retrieve(2))) as F;
  if (!isRefused && (await next.isChanged(file, 1)))
    throw next.watch.fault(
      'freeze',
      'loses what was changed after preserve(): it must record the file as it is at the handover',
    );
  if (!(await next.isChanged(file, isRefused ? 1 : 2)))
    throw next.watch.fault('retrieve', 'gives a file that is not as it was at the handover: same() says no');
  await finish(next, session);
  await next.release(other);
  await next.release(file);
  await checkNothingLeft(next, before);
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
