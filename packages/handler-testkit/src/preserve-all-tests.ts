/**
 * preserveAll, where the handler has it: many files in one step, all or none, and of each of them
 * is left what preserve leaves. The other callbacks were judged before, with files that were
 * preserved one by one: what goes wrong here is a fault of preserveAll.
 */
import { assert, KernelError } from '@liveupdate/base';
import type { OutgoingSession, PreservableFile } from '@liveupdate/luo-core';
import { CallbackFailure } from './callback-failure.ts';
import { tryChange } from './changes.ts';
import { failPreserve, untilUnhit } from './failures.ts';
import { HERE, THERE, HandlerFault, type CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { firstKernel, nextKernel, type TestKernel } from './kernel.ts';
import { Neighbour } from './neighbour.ts';
import { countReferences, referencesText } from './references.ts';
import {
  checkNothingLeft,
  finish,
  incoming,
  must,
  newSession,
  preserve,
  preserveAll,
  preserved,
  retrieve,
} from './scenario.ts';
import { checkStill } from './still.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { checkUsable, codeOf } from './undo.ts';

export function preserveAllTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  const tests: SuiteTest[] = [
    {
      name: 'files that are preserved in one step are taken back one by one',
      run: () => takenBack(suite),
      uses: [...HERE, 'preserveAll'],
    },
    {
      name: 'files that are preserved in one step arrive as those preserved one by one',
      run: () => arrive(suite),
      uses: [...THERE, 'unpreserve', 'preserveAll'],
    },
    {
      name: 'a list with a file that is refused leaves nothing',
      run: () => refused(suite),
      uses: [...HERE, 'preserveAll'],
    },
    {
      name: 'each allocation of preserveAll fails once',
      run: () => untilUnhit((n) => failPreserve(suite, n, 'preserveAll')),
      uses: [...HERE, 'preserveAll'],
    },
    {
      name: 'each callback fails once, with files that are preserved in one step',
      run: () => untilUnhit((n) => new CallbackFailure(suite, n, 'in one step').run()),
    },
  ];
  return tests.map((test) => ({ ...test, run: () => asItsFault(test.run) }));
}

/** What they do wrong is their own. */
const WITHOUT_IT: readonly CallbackName[] = ['canPreserve', 'getId', 'preserveAll'];

async function asItsFault(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof HandlerFault) || WITHOUT_IT.includes(error.callback)) throw error;
    const { kind, compatible, callback, rule } = error;
    throw new HandlerFault(
      { kind, compatible, callback: 'preserveAll' },
      `does not do for each file what preserve() does: afterwards ${callback}() ${rule}`,
      { cause: error },
    );
  }
}

async function takenBack<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const atFirst = kernel.picture();
  const files = [await kernel.file(1), await kernel.file(2), await kernel.file(3)];
  for (const [i, file] of files.entries()) await preserve(kernel, session, file, i + 1);
  const expected = await unpreserveEach(kernel, session);
  const before = kernel.picture();
  const references = files.map((file) => countReferences(file));
  await preserveAll(kernel, session, files);
  assert(kernel.watch.calls.get('preserveAll') === 1, 'LUO calls it, and the watch sees that');
  await checkStill(kernel, 'preserveAll');
  const actual = await unpreserveEach(kernel, session);
  kernel.checkTakenBack(before, 'preserveAll', ' when its files are unpreserved');
  for (const extra of references.map((end) => end()))
    if (extra !== 0) throw kernel.watch.fault('preserveAll', referencesText(extra));
  const other = actual.findIndex((pages, i) => pages !== expected[i]);
  if (other !== -1)
    throw kernel.watch.fault(
      'preserveAll',
      `does not leave of each file what preserve() leaves: when ${other} of ${files.length} files are unpreserved, ${actual[other]} pages are preserved, and ${expected[other]} where preserve() ran for each (is its data in the order of the files?)`,
    );
  for (const [i, file] of files.entries()) {
    await checkUsable(kernel, file, i + 1, 'preserveAll');
    await kernel.release(file);
  }
  kernel.checkMemory(atFirst, 'preserveAll', ' when its files are unpreserved');
}

/**
 * Unpreserves three files, not in the order in which they were preserved. Gives how many pages are
 * preserved, at first and after each.
 */
async function unpreserveEach<F extends PreservableFile>(
  kernel: TestKernel<F>,
  session: OutgoingSession,
): Promise<number[]> {
  const pages = () => [...kernel.picture().preserved.values()].reduce((sum, order) => sum + 2 ** order, 0);
  const counts = [pages()];
  for (const token of [2, 3, 1]) {
    await must(kernel, 'unpreserve', () => session.unpreserve(token));
    counts.push(pages());
  }
  return counts;
}

/** The first file is preserved alone. One of the others is taken back, and preserved alone then. */
async function arrive<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const atFirst = kernel.picture();
  const { session, files } = await preserved(kernel, [1]);
  const changes = new Map([[1, 1]]);
  const others = new Map<number, F>();
  for (const token of [4, 2, 5, 3]) {
    changes.set(token, token);
    others.set(token, await kernel.file(token));
  }
  await must(kernel, 'preserveAll', () => session.preserveAll(others));
  if (await tryChange(kernel, others.get(5)!)) changes.set(5, 6);
  await must(kernel, 'unpreserve', () => session.unpreserve(2));
  await preserve(kernel, session, others.get(2)!, 2);
  const next = nextKernel(suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session: left, before } = incoming(next);
  // Nobody retrieves the file under token 3.
  for (const token of [5, 2, 1, 4])
    await next.release(await retrieve(next, left, token, changes.get(token)!));
  await finish(next, left);
  await checkNothingLeft(next, before);
  await must(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
  await must(kernel, 'unpreserve', () => session.close());
  for (const file of [...files, ...others.values()]) await kernel.release(file);
  kernel.checkMemory(atFirst, 'preserveAll', ' when the session is closed');
}

async function refused<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  let isFailing = false;
  const kernel = firstKernel(suite, {
    beforeNeighbour: (callback) => {
      if (callback === 'preserve' && isFailing) throw new KernelError('EIO', 'the test wants this to fail');
    },
  });
  const session = await newSession(kernel);
  const atFirst = kernel.picture();
  const known = await kernel.file(3);
  const files = [await kernel.file(1), await kernel.file(2)];
  const before = kernel.picture();
  await must(kernel, 'preserveAll', () => session.preserveAll([[9, known]]));
  const withKnown = kernel.picture();
  isFailing = true;
  const lists: [what: string, token: number, file: PreservableFile, code: string][] = [
    ['a token that is there twice', 1, new Neighbour(1n), 'EEXIST'],
    ['a token of another file', 9, new Neighbour(1n), 'EEXIST'],
    ['a file that is there twice', 3, files[0], 'EBUSY'],
    ['a file that is preserved already', 3, known, 'EBUSY'],
    ['a file that no handler takes', 3, {}, 'ENOENT'],
    ['a file that another handler fails to preserve', 3, new Neighbour(1n), 'EIO'],
  ];
  for (const [what, token, file, code] of lists) {
    const actual = await codeOf(() =>
      session.preserveAll([
        [1, files[0]],
        [2, files[1]],
        [token, file],
      ]),
    );
    if (actual !== code)
      throw kernel.watch.fault(
        code === 'EBUSY' ? 'getId' : 'preserveAll',
        `lets session.preserveAll() end with ${actual}, not ${code}, where the list has ${what}`,
      );
    kernel.checkTakenBack(withKnown, 'preserveAll', `, where the list has ${what}`);
  }
  for (const [i, file] of files.entries()) await checkUsable(kernel, file, i + 1, 'preserveAll');
  await preserveAll(kernel, session, files);
  for (const token of [1, 9, 2]) await must(kernel, 'unpreserve', () => session.unpreserve(token));
  kernel.checkTakenBack(before, 'preserveAll', ' when its files are unpreserved');
  for (const file of [known, ...files]) await kernel.release(file);
  kernel.checkMemory(atFirst, 'preserveAll', ' when its files are unpreserved');
}
