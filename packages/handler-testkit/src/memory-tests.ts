/**
 * What a handler may do with memory: which pages are its own and since when, and that nothing but
 * memory tells the next kernel anything.
 */
import { PAGE_SIZE, pfnToPhys, type Pfn } from '@liveupdate/base';
import type { PreservableFile } from '@liveupdate/luo-core';
import { THERE, FLB_CALLBACKS, HandlerFault, type CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { firstKernel, nextKernel, type TestKernel } from './kernel.ts';
import { framesText } from './memory-picture.ts';
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

/** Orders of free memory that are tried. */
const SCATTERINGS = 6;

export function memoryTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  return [
    {
      name: 'pages are taken as they were written, wherever they lie',
      run: () => scattered(suite),
      uses: THERE,
    },
    {
      name: 'what arrives is in memory, and nowhere else in this process',
      run: () => inMemory(suite),
      uses: THERE,
    },
    {
      name: 'until the handover is consumed, what was handed over stays as it is',
      run: () => untilConsumed(suite),
    },
    { name: 'nobody uses memory that is free', run: () => usesNothingFree(suite) },
  ];
}

async function scattered<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  for (let seed = 1; seed <= SCATTERINGS; seed++) {
    const kernel = firstKernel(suite, { scattered: seed });
    await preserved(kernel, [1, 2, 3]);
    const handed = await must(kernel, 'freeze', () => kernel.handOver());
    const next = nextKernel(suite, handed);
    const { session, before } = incoming(next);
    for (const token of [1, 2, 3]) {
      const file = (await must(next, 'retrieve', () => session.retrieve(token))) as F;
      if (!(await next.isChanged(file, token))) {
        const own = [...handed.marks!].filter(([, { kind }]) => kind === 'handler').map(([pfn]) => pfn);
        throw next.watch.fault(
          'retrieve',
          `takes pages in another order than they were written in, where they do not lie side by side (${framesText(own)}): same() says no`,
        );
      }
      await next.release(file);
    }
    await finish(next, session);
    await checkNothingLeft(next, before);
  }
}

/** Two handovers of this process, that would be two processes otherwise. */
async function inMemory<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const first = firstKernel(suite);
  const { files: were, session: left } = await preserved(first, [1, 2]);
  const handed = await must(first, 'freeze', () => first.handOver());
  const data = new Map(left.files.map(({ token, data }) => [token, data]));
  // The same again, on another RAM: most likely at the same addresses, and with other contents.
  await handedOver(suite, [3, 4]);
  const kernel = nextKernel(suite, handed);
  const { session, before } = incoming(kernel);
  for (const token of [1, 2]) {
    const file = (await must(kernel, 'retrieve', () => session.retrieve(token))) as F;
    const from = `for data 0x${data.get(BigInt(token))!.toString(16)}`;
    if (were.includes(file))
      throw kernel.watch.fault(
        'retrieve',
        `gives the very file that was preserved ${from}: the next generation is another process, where it is not`,
      );
    if (!(await kernel.isChanged(file, token)))
      throw kernel.watch.fault(
        'retrieve',
        `gives what this process remembers ${from}, of another handover: the next generation is another process, and has the preserved pages and data alone`,
      );
    await kernel.release(file);
  }
  await finish(kernel, session);
  await checkNothingLeft(kernel, before);
}

function areEqual(some: Uint8Array, other: Uint8Array): boolean {
  for (let i = 0; i < some.length; i++) if (some[i] !== other[i]) return false;
  return true;
}

/** Copies of folios, to see whether they are written. */
export function copiesOf<F extends PreservableFile>(
  { parts: { ram, pages } }: TestKernel<F>,
  folios: Iterable<Pfn>,
): () => Pfn[] {
  const copies = Array.from(folios, (pfn) => {
    const window = ram.bytes(pfnToPhys(pfn), PAGE_SIZE << pages.orderOf(pfn));
    return { pfn, window, copy: window.slice() };
  });
  return () => copies.filter(({ window, copy }) => !areEqual(copy, window)).map(({ pfn }) => pfn);
}

async function untilConsumed<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const handed = await handedOver(suite, [1, 2, 3]);
  const kernel = nextKernel(suite, handed, { commits: false });
  const { kho, pages } = kernel.parts;
  const { session } = incoming(kernel);
  const written = copiesOf(kernel, kernel.cameFrom.keys());
  const check = (callback: CallbackName) => {
    const all = written();
    if (all.length === 0) return;
    const by = kernel.cameFrom.get(all[0])!;
    const its = all.filter((pfn) => kernel.cameFrom.get(pfn)!.kind === by.kind);
    throw new HandlerFault(
      { ...by, callback: by.kind === 'handler' || FLB_CALLBACKS.includes(callback) ? callback : by.callback },
      `writes into ${framesText(its)} that it was handed, before the handover is consumed: should this process die now, the next one boots from it (see kho.whenCommitted)`,
    );
  };
  const files: F[] = [];
  for (const token of [1, 2]) {
    files.push((await must(kernel, 'retrieve', () => session.retrieve(token))) as F);
    check('retrieve');
  }
  await finish(kernel, session);
  check('finish');
  // Most programs preserve at once what they retrieved.
  const next = await newSession(kernel);
  for (const [i, file] of files.entries()) await preserve(kernel, next, file, i + 1);
  check('preserve');
  await must(kernel, 'freeze', () => kernel.handOver());
  check('freeze');
  await must(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
  await must(kernel, 'unpreserve', () => next.close());
  check('unpreserve');
  await bootAgain(suite, kernel);
  // From here on it is the owner, and its files are like all others.
  kho.commit();
  pages.releaseHeld();
  for (const [i, file] of files.entries()) {
    if (!(await kernel.isChanged(file, i + 1)))
      throw kernel.watch.fault('retrieve', 'gives a file that is another one when the handover is consumed');
    await must(kernel, 'retrieve', () => suite.change(file));
    if (!(await kernel.isChanged(file, i + 2)))
      throw kernel.watch.fault(
        'retrieve',
        'gives a file that cannot be changed when the handover is consumed',
      );
    await kernel.release(file);
  }
}

/** The process died before it was the owner: another boots from the same RAM. */
async function bootAgain<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  { parts, cameFrom }: TestKernel<F>,
): Promise<void> {
  const { ram, kho } = parts;
  const kernel = nextKernel(suite, { ram, entry: kho.incoming!.entry, marks: cameFrom });
  const { session, before } = incoming(kernel);
  for (const token of [1, 2, 3]) await kernel.release(await retrieve(kernel, session, token, token));
  await finish(kernel, session);
  await checkNothingLeft(kernel, before);
}

async function usesNothingFree<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  const file = await kernel.file(1);
  await preserve(kernel, session, file, 1);
  await checkFree(kernel, 'preserve', file, 1);
  await must(kernel, 'freeze', () => kernel.handOver());
  await must(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
  await checkFree(kernel, 'freeze', file, 1);
  await must(kernel, 'unpreserve', () => session.unpreserve(1));
  await checkFree(kernel, 'unpreserve', file, 1);
  await must(kernel, 'unpreserve', () => suite.change(file));
  checkUnwritten(kernel, 'unpreserve');
  await kernel.release(file);

  const next = nextKernel(suite, await handedOver(suite, [1, 2]));
  const { session: left, before } = incoming(next);
  const other = await retrieve(next, left, 1, 1);
  await checkFree(next, 'retrieve', other, 1);
  await finish(next, left);
  await checkFree(next, 'finish', other, 1);
  await must(next, 'finish', () => suite.change(other));
  checkUnwritten(next, 'finish');
  await next.release(other);
  await checkNothingLeft(next, before);
}

/** Fills free memory, and looks whether the file is still what it was. */
async function checkFree<F extends PreservableFile>(
  kernel: TestKernel<F>,
  callback: CallbackName,
  file: F,
  changes: number,
): Promise<void> {
  const { memory } = kernel.watch;
  checkUnwritten(kernel, callback);
  const freed = memory.freed;
  memory.poisonFree();
  if (await kernel.isChanged(file, changes)) return;
  const pages = freed.length > 0 ? ` (${framesText(freed)} freed by its callbacks)` : '';
  throw kernel.watch.fault(
    callback,
    `leaves a file that reads memory which is free${pages}: it is another one when that memory is written`,
  );
}

function checkUnwritten<F extends PreservableFile>({ watch }: TestKernel<F>, callback: CallbackName): void {
  const written = watch.memory.writtenWhileFree;
  if (written.length === 0) return;
  throw watch.fault(callback, `writes into ${framesText(written)} that is free, or leaves a file that does`);
}
