/**
 * The FLBs that a handler names: alive from its first file to the last, made once in the next
 * kernel, gone with the last file there. What they leak every other test finds too, and says whose
 * it is; here is their state.
 */
import type { FileLifecycleBound, PreservableFile } from '@liveupdate/luo-core';
import { HERE, THERE, HandlerFault, textOf, type CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { firstKernel, nextKernel, type TestKernel } from './kernel.ts';
import { framesText } from './memory-picture.ts';
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

export function flbTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    {
      name: 'it comes with the first file and goes with the last',
      run: () => comesAndGoes(suite),
      uses: HERE,
    },
    {
      name: 'its state arrives, whenever it is asked for',
      run: async () => {
        for (const asked of ['first', 'last', 'never'] as const) await stateArrives(suite, asked);
      },
      uses: THERE,
    },
    { name: 'its state lives on in a second generation', run: () => stateLivesOn(suite), uses: THERE },
  ];
}

async function comesAndGoes<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  for (let i = 0; i < 3; i++) {
    const atFirst = kernel.picture();
    const files = [await kernel.file(1), await kernel.file(2)];
    const before = kernel.picture();
    for (const [j, file] of files.entries()) await preserve(kernel, session, file, j + 1);
    for (const flb of kernel.watch.flbs.values())
      await must(kernel, 'preserve', () => kernel.luo.outgoingFlb(flb));
    for (const token of i % 2 === 0 ? [1, 2] : [2, 1])
      await must(kernel, 'unpreserve', () => session.unpreserve(token));
    kernel.checkTakenBack(before, 'unpreserve');
    for (const file of files) await kernel.release(file);
    kernel.checkMemory(atFirst, 'unpreserve');
  }
}

/** The next kernel, where the state of each FLB is compared as it arrives, and as it goes on. */
async function nextOf<F extends PreservableFile>(kernel: TestKernel<F>): Promise<TestKernel<F>> {
  const handed = await must(kernel, 'freeze', () => kernel.handOver());
  const next: TestKernel<F> = nextKernel(kernel.suite, handed, {
    flbs: {
      async retrieved(flb, object) {
        if (await isSame(next, flb, object, outgoingOf(kernel, flb))) return;
        throw flbFault(
          next,
          flb,
          'retrieve',
          'gives another state than there was at the handover: same() says no. An FLB has no freeze: what changes after its preserve() must be written to its memory as it changes, or by the freeze() of a handler',
        );
      },
      async preserved(flb, object, arrived) {
        if (next.suite.flbs?.[flb.compatible]?.goesOn === false) return;
        if (await isSame(next, flb, object, arrived)) return;
        throw flbFault(
          next,
          flb,
          'preserve',
          'begins anew in the second generation, and loses the state that arrived: it must go on with what incoming() of its context gives, or say goesOn: false',
        );
      },
    },
  });
  return next;
}

async function askForAll<F extends PreservableFile>(kernel: TestKernel<F>): Promise<void> {
  for (const flb of kernel.watch.flbs.values())
    await must(kernel, 'retrieve', () => kernel.luo.retrieveFlb(flb));
}

/** @param asked when somebody asks for the state: before the files, after them, or nobody does */
async function stateArrives<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  asked: 'first' | 'last' | 'never',
): Promise<void> {
  const kernel = firstKernel(suite);
  const { files } = await preserved(kernel, [0, 1, 2]);
  await kernel.release(files[1]);
  const next = await nextOf(kernel);
  const { session, before } = incoming(next);
  if (asked === 'first') await askForAll(next);
  for (const token of [3, 1]) await next.release(await retrieve(next, session, token, token - 1));
  if (asked === 'last') await askForAll(next);
  await finish(next, session);
  await checkNothingLeft(next, before, 'finish', asked === 'never' ? ', though nobody asked for it' : '');
}

async function stateLivesOn<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  let kernel = firstKernel(suite);
  await preserved(kernel, [1, 2, 3]);
  for (const asked of ['first', 'last'] as const) {
    const next = await nextOf(kernel);
    const { session } = incoming(next);
    const outgoing = await newSession(next);
    const files: F[] = [];
    if (asked === 'last') await preserve(next, outgoing, await next.file(3), 3);
    for (const token of [1, 2]) files.push(await retrieve(next, session, token, token));
    for (const [i, file] of files.entries()) await preserve(next, outgoing, file, i + 1);
    await finish(next, session);
    kernel = next;
  }
  const last = await nextOf(kernel);
  const { session, before } = incoming(last);
  await finish(last, session);
  await checkNothingLeft(last, before);
}

function outgoingOf<F extends PreservableFile>(
  { luo, watch }: TestKernel<F>,
  { compatible }: FileLifecycleBound,
): unknown {
  const flb = watch.flbs.get(compatible);
  return flb && luo.outgoingFlb(flb);
}

/** True also where the author has not said how to compare. */
async function isSame<F extends PreservableFile>(
  kernel: TestKernel<F>,
  flb: FileLifecycleBound,
  actual: unknown,
  expected: unknown,
): Promise<boolean> {
  const state = kernel.suite.flbs?.[flb.compatible];
  if (!state) return true;
  try {
    return await state.same(actual, expected);
  } catch (error) {
    throw flbFault(
      kernel,
      flb,
      'retrieve',
      `gives a state that same() cannot compare: ${textOf(error)}`,
      error,
    );
  }
}

/** The fault of an FLB, with the pages that it preserved, where it did. */
function flbFault<F extends PreservableFile>(
  { cameFrom, watch }: TestKernel<F>,
  { compatible }: FileLifecycleBound,
  callback: CallbackName,
  rule: string,
  cause?: unknown,
): HandlerFault {
  const marks = callback === 'retrieve' ? cameFrom : watch.memory.marks;
  const own = [...marks].filter(([, by]) => by.kind === 'FLB' && by.compatible === compatible);
  const where = own.length > 0 ? ` (${framesText(own.map(([pfn]) => pfn))})` : '';
  return new HandlerFault({ kind: 'FLB', compatible, callback }, rule + where, { cause });
}
