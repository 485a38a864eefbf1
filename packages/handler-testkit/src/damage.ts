/**
 * Handovers that are not as the handler left them. What cannot be right must be refused with a
 * KernelError; whatever the bytes say, nothing may crash, and no page of this kernel may be lost or
 * taken.
 */
import { KernelError, PAGE_SIZE, pfnToPhys, Prng, type Pfn } from '@liveupdate/base';
import type { PreservedBlock } from '@liveupdate/kho';
import type { IncomingSession, PreservableFile } from '@liveupdate/luo-core';
import { FREE, HEAD } from '@liveupdate/mm';
import { THERE, HandlerFault, textOf, type CallbackName } from './fault.ts';
import type { SuiteTest } from './judge.ts';
import { frameAt, framesText } from './memory-picture.ts';
import { isTimeout } from './watch.ts';
import { incoming, must, newSession, preserve } from './scenario.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { firstKernel, nextKernel, type Handed, type KernelOptions, type TestKernel } from './kernel.ts';

/** Pages of a file that are damaged or taken away, of its first and of its last. */
const MOST_PAGES = 12;
/** Bytes at the head of a page whose words are damaged one by one. */
const HEAD_BYTES = 64;

export function damageTests<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest[] {
  const tests: Omit<SuiteTest, 'uses'>[] = [
    { name: 'a record that is cut short or overwritten does no harm', run: () => damagedPages(suite) },
    { name: 'a record that lacks a page is refused', run: () => lostPages(suite) },
    { name: 'a number that names no record is refused', run: () => wrongNumbers(suite) },
  ];
  for (const [name, harm] of Object.entries(suite.damage ?? {}))
    tests.push({ name: `a record is refused: ${name}`, run: () => declaredDamage(suite, name, harm) });
  return tests.map((test) => ({ ...test, uses: THERE }));
}

/** A handover with one file in it, and what is known of it. */
interface Victim extends Handed {
  readonly data: bigint;
  /** Folios that the handler preserved, the last preserved last. */
  readonly frames: readonly Pfn[];
  /** The folio that `data` is the address of; undefined where it is none. */
  readonly record: Pfn | undefined;
}

async function makeVictim<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<Victim> {
  const kernel = firstKernel(suite);
  const session = await newSession(kernel);
  await preserve(kernel, session, await kernel.file(2), 1);
  const handed = await must(kernel, 'freeze', () => kernel.handOver());
  const { data } = session.files.find(({ token }) => token === 1n)!;
  // What an FLB and LUO mark beside is not the file's.
  const frames = [...handed.marks!].filter(([, { kind }]) => kind === 'handler').map(([pfn]) => pfn);
  const at = frameAt(data);
  return { ...handed, data, frames, record: at !== undefined && frames.includes(at) ? at : undefined };
}

/** Some of a file's folios: the record, and of the others the first and the last. */
function someFrames({ frames, record }: Victim): Pfn[] {
  const others = frames.filter((pfn) => pfn !== record);
  const some =
    others.length <= MOST_PAGES
      ? others
      : [...others.slice(0, MOST_PAGES / 2), ...others.slice(-MOST_PAGES / 2)];
  return record === undefined ? some : [record, ...some];
}

/** What becomes of the file of a victim in a next kernel that is harmed first. */
async function outcome<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  victim: Victim,
  {
    harm,
    what,
    data,
    isRefused,
  }: {
    harm?: (kernel: TestKernel<F>) => void;
    what: string;
    data?: (data: bigint) => bigint;
    isRefused: boolean;
  },
): Promise<void> {
  for (const retrieves of [true, false]) {
    const options: KernelOptions<F> = { data, isDamaged: true };
    const kernel = nextKernel(suite, victim, options);
    const { session } = incoming(kernel);
    harm?.(kernel);
    const before = kernel.picture();
    if (retrieves) {
      const file = await tolerate(
        kernel,
        'retrieve',
        what,
        () => session.retrieve(1) as Promise<unknown> as Promise<F>,
      );
      if (file && isRefused)
        throw kernel.watch.fault(
          'retrieve',
          `makes a file from ${what}: it must refuse it with a KernelError`,
        );
      if (file) await tolerate(kernel, 'finish', what, () => session.finish());
      else await finishFailed(kernel, session, what);
      if (file) await kernel.release(file);
    } else {
      await tolerate(kernel, 'finish', what, () => session.finish());
    }
    // Pages of the previous kernel that a damaged record no longer names may stay out of use.
    kernel.checkMemory(before, retrieves ? 'retrieve' : 'finish', `, met with ${what}`);
  }
}

/**
 * After a retrieve that failed: that has let go of everything, so finish has nothing to free, and
 * nothing that could fail.
 */
async function finishFailed<F extends PreservableFile>(
  kernel: TestKernel<F>,
  session: IncomingSession,
  what: string,
): Promise<void> {
  const { watch } = kernel;
  let error: unknown;
  try {
    await session.finish();
  } catch (thrown) {
    error = thrown;
  }
  const given = watch.memory.givenBy('finish');
  const again = given.length > 0 ? `frees ${framesText(given)} again` : undefined;
  if (again === undefined && error === undefined) return;
  if (error instanceof HandlerFault) throw error;
  throw watch.fault(
    'finish',
    `${again ?? `throws ${textOf(error)}`} after a retrieve() that failed: that has let go of everything, and finish() has nothing to free where retrieval is 'failed' (met with ${what})`,
    error,
  );
}

/** A step that may fail with a KernelError, and with nothing else; and it must end. */
async function tolerate<F extends PreservableFile, T>(
  { watch }: TestKernel<F>,
  callback: CallbackName,
  what: string,
  step: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    if (isTimeout(error)) throw watch.fault(callback, `does not end on ${what}: it must refuse it`, error);
    if (error instanceof KernelError) return undefined;
    if (error instanceof HandlerFault)
      throw new HandlerFault(error, `${error.rule}, met with ${what}`, { cause: error });
    throw watch.fault(callback, `crashes on ${what}: ${textOf(error)}`, error);
  }
}

async function wrongNumbers<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const victim = await makeVictim(suite);
  const isRefused = victim.record !== undefined; // a number that is the state itself may be any
  const numbers: [string, (kernel: bigint) => bigint][] = [
    ['data 0', () => 0n],
    ['data in the midst of a page', (data) => data + 8n],
    ['data at an odd address', (data) => data + 1n],
    ['data at the end of RAM', () => BigInt(victim.ram.size)],
    ['data far beyond RAM', () => 2n ** 52n],
    ['data 2^63', () => 2n ** 63n],
    ['data 2^64 - 1', () => 2n ** 64n - 1n],
  ];
  for (const [what, data] of numbers) await outcome(suite, victim, { what, data, isRefused });
  for (const [what, kind] of [
    ['a free page', FREE],
    ['a page of this kernel', HEAD],
  ] as const) {
    let data = 0n;
    const harm = ({ parts: { pages } }: TestKernel<F>) => {
      const { table } = pages;
      let pfn = table.frames - 1;
      while (pfn > 0 && table.kindOf(pfn) !== kind) pfn -= 1;
      data = BigInt(pfnToPhys(pfn));
    };
    await outcome(suite, victim, { what: `data that names ${what}`, data: () => data, harm, isRefused });
  }
}

async function lostPages<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const victim = await makeVictim(suite);
  for (const pfn of someFrames(victim)) {
    const what = `a file whose page at 0x${pfnToPhys(pfn).toString(16)} is another's already`;
    await outcome(suite, victim, {
      what,
      harm: ({ parts: { kho } }) => kho.restoreFolio(pfn),
      isRefused: true,
    });
  }
}

async function declaredDamage<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  name: string,
  damage: (record: PreservedBlock) => void,
): Promise<void> {
  const victim = await makeVictim(suite);
  const harm = ({ parts: { kho } }: TestKernel<F>) => damage(kho.at(victim.data));
  await outcome(suite, victim, { what: `a record with ${name}`, harm, isRefused: true });
}

async function damagedPages<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const victim = await makeVictim(suite);
  for (const pfn of someFrames(victim)) {
    const pa = pfnToPhys(pfn);
    const damages = [...wholePage(), ...(pfn === victim.record ? singleWords(victim, pa) : [])];
    for (const [what, write] of damages) {
      const harm = ({ parts: { ram } }: TestKernel<F>) => write(ram.bytes(pa, PAGE_SIZE));
      const where = `${what} in the page at 0x${pa.toString(16)}`;
      await outcome(suite, victim, { what: where, harm, isRefused: false });
    }
  }
}

type Damage = readonly [what: string, write: (page: Uint8Array) => void];

function wholePage(): Damage[] {
  const prng = new Prng(1);
  const cut = [8, 16, 24, 32, 48].map((length): Damage => [
    `all but ${length} bytes cut off`,
    (page) => page.fill(0, length),
  ]);
  return [
    ['zeros', (page) => page.fill(0)],
    ['ones', (page) => page.fill(0xff)],
    ['random bytes', (page) => page.forEach((_, i) => (page[i] = prng.below(256)))],
    ...cut,
  ];
}

/** Each word at the head of the record as numbers that are often believed. */
function singleWords({ ram, frames }: Victim, own: number): Damage[] {
  const values = [1n, 0xffff_ffffn, 2n ** 53n, 2n ** 64n - 1n];
  const addresses = [own, ram.size, pfnToPhys(frames[0])].map(BigInt);
  const damages: Damage[] = [];
  for (let at = 0; at < HEAD_BYTES; at += 8) {
    for (const value of [...values, ...addresses]) {
      damages.push([
        `0x${value.toString(16)} at byte ${at}`,
        (page) => new DataView(page.buffer, page.byteOffset).setBigUint64(at, value, true),
      ]);
    }
  }
  return damages;
}
