/**
 * A kernel may die at any instant, in the midst of a callback too: the next one finds what was
 * published, takes it as a handover, and nothing is left behind. Instants are those between the
 * steps of callbacks, wherever one of them waits for something.
 */
import type { PreservableFile } from '@liveupdate/luo-core';
import { HeapRam } from '@liveupdate/mm';
import type { CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { deadKernel, publishingKernel, SESSION, type Dead, type TestKernel } from './kernel.ts';
import { must, newSession, preserve } from './scenario.ts';
import type { FileHandlerSuite } from './suite-options.ts';

/** Turns of promises that are looked at before timers and the like get their turn. */
const MOST_TURNS = 50;

export function deathTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    {
      name: 'a kernel that dies while it preserves leaves all or nothing of a file',
      run: () => preserving(suite),
    },
    { name: 'a kernel that dies while it hands over leaves its files', run: () => handingOver(suite) },
    { name: 'a kernel that dies with files that came leaves them, or nothing', run: () => takingOver(suite) },
  ];
}

/** Memory as a kernel leaves it that dies now. */
function death<F extends PreservableFile>({ parts }: TestKernel<F>): Dead {
  const { size } = parts.ram;
  const ram = new HeapRam(size);
  ram.bytes(0, size).set(parts.ram.bytes(0, size));
  return { ram, live: parts.kho.publication?.pa ?? 0 };
}

/** Which files a dead kernel's successor finds, and that each is as it was. */
interface Found {
  /** `token` where it is in the newer session of the suite, `older token` in the other. */
  readonly files: string;
}

/**
 * Boots after a death, and proves that what is found is whole: each file is as it must be, and
 * nothing is left when all is finished.
 */
async function look<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  dead: Dead,
  callback: CallbackName,
  when: string,
): Promise<Found> {
  const kernel = deadKernel(suite, dead);
  const { luo, parts, watch } = kernel;
  const found: string[] = [];
  for (const [i, session] of luo.incomingSessions.toReversed().entries()) {
    for (const { token } of session.files) {
      if (token === 0n) continue; // the neighbour's
      found.push(i === 0 ? String(token) : `older ${token}`);
      const file = (await must(kernel, 'retrieve', () => session.retrieve(token))) as F;
      if (!(await kernel.isChanged(file, Number(token))))
        throw watch.fault(
          callback,
          `leaves a file that is not as it was, where the kernel dies ${when}: same() says no`,
        );
      await kernel.release(file);
    }
    await must(kernel, 'finish', () => session.finish());
  }
  luo.flush();
  const left = parts.kho.publication?.arrivedRows().length ?? 0;
  if (left > 0) throw watch.fault(callback, `leaves memory that no file has, where the kernel dies ${when}`);
  parts.pages.assertConsistent();
  return { files: found.sort().join(', ') };
}

/**
 * Runs an operation, and looks at what is left where the kernel dies before it, after it, or
 * whenever it waits: what was there before, or what is there after, and from one instant on the
 * latter.
 */
async function atEachInstant<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  kernel: TestKernel<F>,
  callback: CallbackName,
  when: string,
  operation: () => Promise<unknown>,
): Promise<void> {
  const instants: Dead[] = [death(kernel)];
  const state = { isDone: false };
  const running = must(kernel, callback, operation).finally(() => {
    state.isDone = true;
  });
  running.catch(() => undefined); // told below
  for (let turn = 1; !state.isDone; turn++) {
    await (turn % MOST_TURNS === 0
      ? new Promise<void>((resolve) => setTimeout(resolve, 0))
      : Promise.resolve());
    const now = death(kernel);
    const last = instants[instants.length - 1];
    if (!areAlike(last.ram, now.ram)) instants.push(now);
  }
  await running;
  instants.push(death(kernel));
  const before = (await look(suite, instants[0], callback, when)).files;
  const after = (await look(suite, instants[instants.length - 1], callback, when)).files;
  let last = before;
  for (const instant of instants) {
    const { files } = await look(suite, instant, callback, when);
    if ((files !== before && files !== after) || (last === after && files !== after))
      throw kernel.watch.fault(
        callback,
        `leaves ${files || 'no file'} where the kernel dies ${when}: ${before || 'none'} before, ${after || 'none'} after it`,
      );
    last = files;
  }
}

function areAlike(some: HeapRam, other: HeapRam): boolean {
  const [a, b] = [some, other].map((ram) => {
    const bytes = ram.bytes(0, ram.size);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, ram.size / 4);
  });
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

async function preserving<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = publishingKernel(suite);
  const session = await newSession(kernel);
  for (const token of [1, 2]) {
    const file = await kernel.file(token);
    await atEachInstant(suite, kernel, 'preserve', 'while it preserves', () => session.preserve(file, token));
  }
  await atEachInstant(suite, kernel, 'unpreserve', 'while it takes a file back', () => session.unpreserve(1));
  await atEachInstant(suite, kernel, 'unpreserve', 'while a session is closed', () => session.close());
}

async function handingOver<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = publishingKernel(suite);
  const session = await newSession(kernel);
  for (const token of [1, 2]) await preserve(kernel, session, await kernel.file(token), token);
  if (kernel.handler.checkpoint)
    await atEachInstant(suite, kernel, 'checkpoint', 'in a checkpoint', () => kernel.luo.checkpoint());
  await atEachInstant(suite, kernel, 'freeze', 'while it freezes', () => kernel.luo.reboot());
  await atEachInstant(suite, kernel, 'unfreeze', 'while a handover is called off', () =>
    kernel.luo.cancelReboot(),
  );
}

async function takingOver<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const first = publishingKernel(suite);
  const left = await newSession(first);
  for (const token of [1, 2, 3]) await preserve(first, left, await first.file(token), token);
  const kernel = deadKernel(suite, death(first));
  const came = kernel.luo.retrieveSession(SESSION);
  const files = new Map<number, F>();
  for (const token of [1, 2])
    await atEachInstant(suite, kernel, 'retrieve', 'while it retrieves', async () => {
      files.set(token, (await came.retrieve(token)) as F);
    });
  const session = kernel.luo.createSession(SESSION);
  for (const [token, file] of files)
    await atEachInstant(suite, kernel, 'preserve', 'while it preserves a file that came', () =>
      session.preserve(file, token),
    );
  await atEachInstant(suite, kernel, 'finish', 'while it finishes', async () => {
    await came.finish();
    kernel.luo.flush();
  });
}
