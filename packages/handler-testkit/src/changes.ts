/**
 * Files that change between preserve and freeze, and between a handover that is called off and the
 * next one. A file that refuses to change while it is preserved (with a KernelError) is taken at
 * its word.
 */
import { KernelError } from '@liveupdate/base';
import type { OutgoingSession, PreservableFile } from '@liveupdate/luo-core';
import { HERE, THERE, HandlerFault, textOf } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { firstKernel, nextKernel, type Handed, type TestKernel } from './kernel.ts';
import { NotEnding } from './own-functions.ts';
import {
  checkNothingLeft,
  finish,
  incoming,
  must,
  preserved,
  newSession,
  preserve,
  retrieve,
} from './scenario.ts';
import type { FileHandlerSuite } from './suite-options.ts';

export function changeTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    {
      name: 'what is changed after preserve arrives, or is refused',
      run: () => changedAfterPreserve(suite),
      uses: THERE,
    },
    {
      name: 'unpreserve takes back what was preserved, whatever was changed since',
      run: () => changedBeforeUnpreserve(suite),
      uses: HERE,
    },
    {
      name: 'changed before each of several handovers that are called off',
      run: () => changedAndCalledOff(suite),
    },
  ];
}

/** Changes a preserved file. False where it refuses that. */
export async function tryChange<F extends PreservableFile>(kernel: TestKernel<F>, file: F): Promise<boolean> {
  try {
    await kernel.suite.change(file);
    return true;
  } catch (error) {
    if (error instanceof KernelError) return false;
    const what = error instanceof NotEnding ? 'lets change() wait' : `lets change() fail (${textOf(error)})`;
    throw kernel.watch.fault(
      'preserve',
      `${what} while the file is preserved: work on it must go on, or be refused with a KernelError`,
      error,
    );
  }
}

async function changedAfterPreserve<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const { files } = await preserved(kernel, [0, 1]);
  const isChanged = await tryChange(kernel, files[1]);
  const next = nextKernel(suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session, before } = incoming(next);
  const other = await retrieve(next, session, 1, 0);
  const file = (await must(next, 'retrieve', () => session.retrieve(2))) as F;
  if (isChanged && (await next.isChanged(file, 1)))
    throw next.watch.fault(
      'freeze',
      'loses what was changed after preserve(): it must record the file as it is at the handover',
    );
  if (!(await next.isChanged(file, isChanged ? 2 : 1)))
    throw next.watch.fault(
      'freeze',
      'records the file as it never was, where it was changed after preserve(): same() says no to both states',
    );
  await finish(next, session);
  await next.release(other);
  await next.release(file);
  await checkNothingLeft(next, before, 'finish', ', where the file was changed after preserve()');
}

async function changedBeforeUnpreserve<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const atFirst = kernel.picture();
  const file = await kernel.file(1);
  let changes = 1;
  for (let i = 0; i < 3; i++) {
    const before = kernel.picture();
    await preserve(kernel, session, file, 1);
    for (let j = 0; j < 2; j++) if (await tryChange(kernel, file)) changes += 1;
    await must(kernel, 'unpreserve', () => session.unpreserve(1));
    kernel.checkMarks(before, 'unpreserve', ', where the file was changed after preserve()');
    if (!(await kernel.isChanged(file, changes)))
      throw kernel.watch.fault(
        'unpreserve',
        'leaves the file other than it was, where it was changed after preserve(): same() says no',
      );
  }
  await kernel.release(file);
  kernel.checkMemory(atFirst, 'unpreserve', ', where the file was changed after preserve()');
}

const CALLED_OFF = ' after a handover that was called off';

/** Files that are preserved, and how often each was changed. */
interface ChangingFiles<F> {
  readonly session: OutgoingSession;
  readonly files: readonly F[];
  readonly changes: number[];
}

async function changedAndCalledOff<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const atFirst = kernel.picture();
  const files = [await kernel.file(0), await kernel.file(1)];
  for (const [i, file] of files.entries()) await preserve(kernel, session, file, i + 1);
  const all = { session, files, changes: [0, 1] };
  const takesChanges = await tryChange(kernel, files[0]);
  if (takesChanges) all.changes[0] += 1;
  for (let i = 0; i < 3; i++) {
    await handOverAgain(kernel, i === 0);
    await must(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
    await checkContents(kernel, all);
    if (takesChanges) await changeAll(kernel, all);
  }
  await checkArrival(kernel, all);
  await kernel.luo.cancelReboot();
  for (const token of [2, 1]) await must(kernel, 'unpreserve', () => session.unpreserve(token));
  kernel.checkTakenBack(atFirst, 'unpreserve', `, where the file was changed${CALLED_OFF}`);
  await changeAll(kernel, all);
  await checkContents(kernel, all);
  for (const file of files) await kernel.release(file);
  kernel.checkMemory(atFirst, 'unpreserve', `, where the file was changed${CALLED_OFF}`);
}

async function handOverAgain<F extends PreservableFile>(
  kernel: TestKernel<F>,
  isFirst: boolean,
): Promise<Handed> {
  try {
    return await must(kernel, 'freeze', () => kernel.handOver());
  } catch (error) {
    if (isFirst || !(error instanceof HandlerFault)) throw error;
    const again = 'freeze() and unfreeze() must leave a file that can be frozen again';
    const rule = `${error.rule}, in a handover after one that was called off: ${again}`;
    throw new HandlerFault(error, rule, { cause: error });
  }
}

async function checkContents<F extends PreservableFile>(
  kernel: TestKernel<F>,
  { files, changes }: ChangingFiles<F>,
): Promise<void> {
  for (const [i, file] of files.entries()) {
    if (!(await kernel.isChanged(file, changes[i])))
      throw kernel.watch.fault('unfreeze', `leaves the file other than it was${CALLED_OFF}: same() says no`);
  }
}

/** Files that took changes once take them again: freeze is over. */
async function changeAll<F extends PreservableFile>(
  kernel: TestKernel<F>,
  { files, changes }: ChangingFiles<F>,
): Promise<void> {
  for (const [i, file] of files.entries()) {
    try {
      await kernel.suite.change(file);
    } catch (error) {
      const rule = `keeps the file from being changed${CALLED_OFF}: unfreeze() must take back what freeze() did (${textOf(error)})`;
      throw kernel.watch.fault('freeze', rule, error);
    }
    changes[i] += 1;
    if (!(await kernel.isChanged(file, changes[i])))
      throw kernel.watch.fault(
        'freeze',
        `keeps the file from being changed${CALLED_OFF}: what is changed then is lost at once`,
      );
  }
}

async function checkArrival<F extends PreservableFile>(
  kernel: TestKernel<F>,
  { changes }: ChangingFiles<F>,
): Promise<void> {
  const next = nextKernel(kernel.suite, await handOverAgain(kernel, false));
  const { session, before } = incoming(next);
  for (const token of [1, 2]) {
    const file = (await must(next, 'retrieve', () => session.retrieve(token))) as F;
    if (!(await next.isChanged(file, changes[token - 1])))
      throw next.watch.fault(
        'freeze',
        `records the file as it was before${CALLED_OFF.replace(' after', '')}: each freeze() must record it anew`,
      );
    await next.release(file);
  }
  await finish(next, session);
  await checkNothingLeft(next, before, 'finish', CALLED_OFF);
}
