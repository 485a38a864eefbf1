/**
 * What the author of a suite gives it: make, change, same and release. They may fail and may never
 * end, and then the handler is not to blame.
 */
import type { MaybePromise, PreservableFile } from '@liveupdate/luo-core';
import { TIME_LIMIT_MS, firstKernel } from './kernel.ts';
import type { SuiteTest } from './judge.ts';
import type { FileHandlerSuite } from './suite-options.ts';

/** One of them has not ended. */
export class NotEnding extends Error {}

/** The suite, with a time limit on each of its own functions. */
export function withTimeLimits<F extends PreservableFile>(suite: FileHandlerSuite<F>): FileHandlerSuite<F> {
  const { make, change, same, release, timeLimit = TIME_LIMIT_MS } = suite;
  const within =
    <A extends unknown[], T>(name: string, work: (...args: A) => MaybePromise<T>) =>
    (...args: A): MaybePromise<T> => {
      const given = work.apply(suite, args);
      return given instanceof Promise ? withTimeLimit(name, given, timeLimit) : given;
    };
  return {
    ...suite,
    make: within('make', make),
    change: within('change', change),
    same: within('same', same),
    ...(release && { release: within('release', release) }),
  };
}

async function withTimeLimit<T>(name: string, given: Promise<T>, limit: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new NotEnding(`the suite's own ${name}() has not ended within ${limit} ms`));
    }, limit);
  });
  try {
    return await Promise.race([given, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** The test that goes first: without it nobody knows whether a file has arrived. */
export function subjectTest<F extends PreservableFile>(suite: FileHandlerSuite<F>): SuiteTest {
  return { name: 'make, change and same are as the suite needs them', run: () => checkSubject(suite) };
}

async function checkSubject<F extends PreservableFile>(suite: FileHandlerSuite<F>): Promise<void> {
  const kernel = firstKernel(suite);
  const file = await own('make', () => kernel.file());
  for (let changes = 0; changes < 4; changes++) {
    for (let other = 0; other < 4; other++) {
      const expected = await own('change', () => kernel.file(other));
      const isSame = await own('same', () => suite.same(file, expected));
      await own('release', () => kernel.release(expected));
      if (isSame === (changes === other)) continue;
      const files = `a file changed ${changes} times and one changed ${other} times`;
      throw new Error(
        `the suite's own same() calls ${files} ${isSame ? 'equal' : 'different'}: mend make, change or same`,
      );
    }
    await own('change', () => suite.change(file));
  }
  if ((await kernel.file()) === file)
    throw new Error("the suite's own make() must make another file each time");
}

/** Says whose error it is: no handler has run yet. */
async function own<T>(name: string, work: () => MaybePromise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof NotEnding) throw error;
    const text = error instanceof Error ? error.message : String(error);
    throw new Error(`the suite's own ${name}() throws, before anything is preserved: ${text}`, {
      cause: error,
    });
  }
}
