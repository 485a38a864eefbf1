/**
 * The compliance suite: what every file handler must do, as tests in the runner of your choice.
 *
 * @example
 * import * as test from 'node:test';
 * testFileHandler({
 *   test,
 *   handler: ({ kho }) => counterHandler({ kho }),
 *   make: () => new Counter(),
 *   change: (file) => file.add(1),
 *   same: (actual, expected) => actual.value === expected.value,
 *   processes: processes(import.meta.url),
 * });
 */
import { checkObject, checkText } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { bootCold } from '@liveupdate/kho';
import type { PreservableFile } from '@liveupdate/luo-core';
import { Shmem } from '@liveupdate/shmem';
import { checkSuite } from './check-suite.ts';
import { damageTests } from './damage.ts';
import { failureTests } from './failures.ts';
import { lifeTests, type SuiteTest } from './life.ts';
import { olderTests } from './older.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { undoTests } from './undo.ts';

/**
 * A test takes two seconds at most, and with real processes; a machine may be slow, and have much
 * else to do.
 */
const TIME_LIMIT_MS = 300_000;

/**
 * Defines the tests. Each failure is a HandlerFault, which names the handler, the callback and the
 * rule.
 *
 * @throws KernelError EINVAL: an option of the suite is missing, of a wrong kind, or does not exist
 */
export function testFileHandler<F extends PreservableFile>(suite: FileHandlerSuite<F>): void {
  checkSuite(suite);
  const title = suite.title ?? compatibleOf(suite);
  const { processes, test } = suite;
  if (processes?.isGeneration) {
    processes.play(suite, title);
    return;
  }
  const groups: [string, readonly SuiteTest[]][] = [
    ['the life of its files', lifeTests(suite)],
    ['taking back', undoTests(suite)],
    ['failures', failureTests(suite)],
    ['damaged handovers', damageTests(suite)],
    ['older formats', olderTests(suite)],
    ['real handovers', processes?.scenarios(title) ?? []],
  ];
  test.describe(`file handler '${title}'`, () => {
    for (const [group, tests] of groups) {
      if (tests.length === 0) continue;
      test.describe(group, () => {
        for (const { name, run } of tests) test.it(name, run, TIME_LIMIT_MS);
      });
    }
  });
}

/** A kernel is made to ask for it: the smallest one. */
function compatibleOf<F extends PreservableFile>(suite: FileHandlerSuite<F>): string {
  const kho = bootCold(new HeapRam(2 ** 20));
  const { ram, pages } = kho;
  const handler = suite.handler({ ram, pages, kho, shmem: new Shmem({ pages }) });
  checkObject(handler, 'a handler');
  return checkText(handler.compatible, 'a compatible string');
}
