/** No callback goes on working when it has ended: what it does later nobody waits for. */
import type { PreservableFile } from '@liveupdate/luo-core';
import { FLB_CALLBACKS, HandlerFault, type CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { firstKernel, nextKernel, type TestKernel } from './kernel.ts';
import { differences, framesText } from './memory-picture.ts';
import { copiesOf } from './memory-tests.ts';
import { finish, incoming, must, newSession, preserve } from './scenario.ts';
import type { FileHandlerSuite } from './suite-options.ts';

/** How long nothing may happen after a callback has ended. */
const STILL_MS = 50;

/**
 * Each callback in turn, and then a moment in which nobody asks for anything. A test of its own,
 * and an early one: whoever goes on when others believe that all is done makes all else a matter of
 * luck.
 */
export function stillTest<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest {
  return { name: 'nothing goes on after a callback has ended', run: () => endsWhenItEnds(suite) };
}

async function endsWhenItEnds<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const files = [await kernel.file(1), await kernel.file(2)];
  await preserve(kernel, session, files[0], 1);
  await checkStill(kernel, 'preserve');
  await preserve(kernel, session, files[1], 2);
  await must(kernel, 'unpreserve', () => session.unpreserve(2));
  await checkStill(kernel, 'unpreserve');
  await must(kernel, 'freeze', () => kernel.handOver());
  await checkStill(kernel, 'freeze');
  await must(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
  await checkStill(kernel, 'unfreeze');

  const next = nextKernel(suite, await must(kernel, 'freeze', () => kernel.handOver()));
  const { session: left } = incoming(next);
  await must(next, 'retrieve', () => left.retrieve(1));
  await checkStill(next, 'retrieve');
  await finish(next, left);
  await checkStill(next, 'finish');
}

/** Waits a moment in which nobody asks for anything, and looks at what has happened. */
export async function checkStill<F extends PreservableFile>(
  kernel: TestKernel<F>,
  callback: CallbackName,
): Promise<void> {
  const { memory } = kernel.watch;
  const before = kernel.picture();
  const written = copiesOf(kernel, memory.marks.keys());
  await new Promise<void>((resolve) => setTimeout(resolve, STILL_MS));
  const goesOn = 'goes on working after it has ended, and after its promise was resolved:';
  const pages = written();
  if (pages.length > 0) {
    const { kind, compatible, callback: by } = memory.markerOf(pages[0])!;
    const its = kind === 'FLB' && !FLB_CALLBACKS.includes(callback) ? by : callback;
    throw new HandlerFault(
      { kind, compatible, callback: its },
      `${goesOn} it writes into ${framesText(pages)}`,
    );
  }
  const found = differences(before, kernel.picture(), memory);
  if (found.length > 0) throw kernel.faultOf(found, callback, `: it ${goesOn.replace(/:$/, '')}`);
}
