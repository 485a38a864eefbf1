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
import { checkObject, checkText, KernelError } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { bootCold } from '@liveupdate/kho';
import type { FileHandler, FileLifecycleBound, PreservableFile } from '@liveupdate/luo-core';
import { Shmem } from '@liveupdate/shmem';
import { checkSuite } from './check-suite.ts';
import { changeTests } from './changes.ts';
import { damageTests } from './damage.ts';
import { deathTests } from './deaths.ts';
import { failureTests } from './failures.ts';
import { flbTests } from './flb-tests.ts';
import { Judge, type SuiteTest } from './judge.ts';
import { generationTests, lifeTests } from './life.ts';
import { memoryTests } from './memory-tests.ts';
import { olderTests } from './older.ts';
import { preserveAllTests } from './preserve-all-tests.ts';
import { subjectTest, withTimeLimits } from './own-functions.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { undoTests } from './undo.ts';

/**
 * A test takes two seconds at most, and with real processes; a machine may be slow, and have much
 * else to do.
 */
const TIME_LIMIT_MS = 300_000;

/**
 * Defines the tests. Each failure is a HandlerFault, which names the handler or the FLB, the
 * callback and the rule. One fault makes one test fail; those that need what is broken are skipped.
 *
 * @throws KernelError EINVAL: an option of the suite is missing, of a wrong kind, or does not exist
 */
export function testFileHandler<F extends PreservableFile>(given: FileHandlerSuite<F>): void {
  checkSuite(given);
  const suite = withTimeLimits(given);
  const probed = probe(suite);
  const { compatible, flbs = [] } = probed;
  const title = suite.title ?? compatible;
  const { processes, test } = suite;
  if (processes?.isGeneration) {
    processes.play(suite, title);
    return;
  }
  checkFlbs(suite, flbs);
  const subject = subjectTest(suite);
  const judge = new Judge(subject);
  const groups: [string, readonly SuiteTest[]][] = [
    ['the life of its files', [subject, ...lifeTests(suite)]],
    ['taking back', undoTests(suite)],
    ['files that change while they are preserved', changeTests(suite)],
    ['memory', memoryTests(suite)],
    ['more generations', generationTests(suite)],
    ['state that files share', flbs.length > 0 ? flbTests(suite) : []],
    ['failures', failureTests(suite)],
    ['deaths', suite.survivesDeath === false ? [] : deathTests(suite)],
    ['damaged handovers', damageTests(suite)],
    ['older formats', olderTests(suite)],
    ['real handovers', processes?.scenarios(title) ?? []],
    // LUO preserves files that FLBs count one by one.
    ['files in one step', probed.preserveAll && flbs.length === 0 ? preserveAllTests(suite) : []],
  ];
  test.describe(`file handler '${title}'`, () => {
    for (const [group, tests] of groups) {
      if (tests.length === 0) continue;
      test.describe(group, () => {
        for (const each of tests) test.it(each.name, judge.asRun(each), TIME_LIMIT_MS);
      });
    }
  });
}

/** A handler, to ask it what it is: of a kernel that is made for that, the smallest one. */
function probe<F extends PreservableFile>(suite: FileHandlerSuite<F>): FileHandler<F> {
  const kho = bootCold(new HeapRam(2 ** 20));
  const { ram, pages } = kho;
  const handler = suite.handler({ ram, pages, kho, shmem: new Shmem({ pages }) });
  checkObject(handler, 'a handler');
  checkText(handler.compatible, 'a compatible string');
  return handler;
}

/** A state of an FLB that there is none of would never be compared. */
function checkFlbs<F extends PreservableFile>(
  { flbs = {} }: FileHandlerSuite<F>,
  known: readonly FileLifecycleBound[],
): void {
  for (const name of Object.keys(flbs)) {
    if (!known.some(({ compatible }) => compatible === name))
      throw new KernelError('EINVAL', `the handler names no FLB '${name}' (flbs)`);
  }
}
