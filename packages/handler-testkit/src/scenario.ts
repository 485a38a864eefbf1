/**
 * The steps that the suite's tests are made of. Each throws a HandlerFault that names what went
 * wrong where.
 */
import type { IncomingSession, OutgoingSession, PreservableFile } from '@liveupdate/luo-core';
import type { CallbackName } from './fault.ts';
import { about, framesText, type MemoryPicture } from './memory-picture.ts';
import { Neighbour } from './neighbour.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { firstKernel, nextKernel, SESSION, type Handed, type TestKernel } from './kernel.ts';
import { asFault, type Watch } from './watch.ts';

/** Token of the neighbour's file, which comes first in a session. */
const NEIGHBOUR_TOKEN = 0;

/** Runs a step that must succeed; what it throws is a fault of `callback`. */
export async function must<T>(
  { watch }: { readonly watch: Watch },
  callback: CallbackName,
  step: () => Promise<T> | T,
): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw asFault(watch, callback, error);
  }
}

/** A session of a kernel with the neighbour's file in it: the room for more records is there. */
export async function newSession<F extends PreservableFile>(kernel: TestKernel<F>): Promise<OutgoingSession> {
  const session = kernel.luo.createSession(SESSION);
  const neighbour = new Neighbour(7n);
  if (kernel.handler.canPreserve(neighbour))
    throw kernel.watch.fault('canPreserve', 'takes the file of another handler: it must say false');
  await session.preserve(neighbour, NEIGHBOUR_TOKEN);
  return session;
}

export function preserve<F extends PreservableFile>(
  kernel: TestKernel<F>,
  session: OutgoingSession,
  file: F,
  token: number,
): Promise<void> {
  return must(kernel, 'preserve', () => session.preserve(file, token));
}

/** Preserves files in one step, under tokens from 1 on. */
export function preserveAll<F extends PreservableFile>(
  kernel: TestKernel<F>,
  session: OutgoingSession,
  files: readonly F[],
): Promise<void> {
  return must(kernel, 'preserveAll', () => session.preserveAll(files.map((file, i) => [i + 1, file])));
}

/**
 * A kernel's session with a file for each number, changed so many times, under tokens from 1 on.
 */
export async function preserved<F extends PreservableFile>(
  kernel: TestKernel<F>,
  changes: readonly number[],
): Promise<{ session: OutgoingSession; files: F[] }> {
  const session = await newSession(kernel);
  const files: F[] = [];
  for (const [i, count] of changes.entries()) {
    const file = await kernel.file(count);
    await preserve(kernel, session, file, i + 1);
    files.push(file);
  }
  return { session, files };
}

/** A first kernel that preserved such files and handed over. */
export async function handedOver<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  changes: readonly number[],
): Promise<Handed> {
  const kernel = firstKernel(suite);
  await preserved(kernel, changes);
  return await must(kernel, 'freeze', () => kernel.handOver());
}

/**
 * The session that the previous kernel left, read, and memory as it is before anything is
 * retrieved.
 */
export function incoming<F extends PreservableFile>(
  kernel: TestKernel<F>,
): { session: IncomingSession; before: MemoryPicture } {
  const session = kernel.luo.retrieveSession(SESSION);
  return { session, before: kernel.picture() };
}

/** Retrieves a file and proves that it is as one that was changed so many times. */
export async function retrieve<F extends PreservableFile>(
  kernel: TestKernel<F>,
  session: IncomingSession,
  token: number,
  changes: number,
): Promise<F> {
  const file = await must(
    kernel,
    'retrieve',
    () => session.retrieve(token) as Promise<unknown> as Promise<F>,
  );
  if (!(await kernel.isChanged(file, changes)))
    throw kernel.watch.fault(
      'retrieve',
      'gives a file that is not as it was at the handover: same() says no',
    );
  if (!kernel.handler.canPreserve(file))
    throw kernel.watch.fault(
      'canPreserve',
      'refuses the file that retrieve() made: it could not be handed over again',
    );
  return file;
}

export async function finish<F extends PreservableFile>(
  kernel: TestKernel<F>,
  session: IncomingSession,
): Promise<void> {
  await must(kernel, 'finish', () => session.finish());
}

/**
 * Proves that nothing of the previous kernel's files is left in a kernel whose session is finished,
 * and whose files are released.
 */
export async function checkNothingLeft<F extends PreservableFile>(
  kernel: TestKernel<F>,
  before: MemoryPicture,
  callback: CallbackName = 'finish',
  when = '',
): Promise<void> {
  const { incoming: still } = kernel.picture();
  const leaves = (what: string) => `leaves ${what} of the previous kernel that nobody restored or freed`;
  const known = [...still].filter((pfn) => kernel.cameFrom.has(pfn));
  if (known.length > 0) {
    const found = about(
      known,
      (pfn) => kernel.cameFrom.get(pfn),
      (what, it, by) => `${leaves(what)}: ${by ?? 'preserve'}() marked ${it}`,
    );
    throw kernel.faultOf(found, callback, when);
  }
  const expected = await incomingWithoutFiles(kernel.suite);
  if (still.size > expected) {
    const ours = [...still].filter((pfn) => before.incoming.has(pfn)).slice(-(still.size - expected));
    throw kernel.watch.fault(callback, leaves(framesText(ours)) + when);
  }
  kernel.checkMemory(before, callback, when);
}

const baselines = new WeakMap<object, Promise<number>>();

/**
 * How many folios of the previous kernel stay without an owner where there was no file: LUO's and
 * KHO's own.
 */
function incomingWithoutFiles<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<number> {
  const known = baselines.get(suite);
  if (known) return known;
  const counted = (async () => {
    const kernel = nextKernel(suite, await handedOver(suite, []));
    await incoming(kernel).session.finish();
    return kernel.picture().incoming.size;
  })();
  baselines.set(suite, counted);
  return counted;
}
