/**
 * Checks of what a suite is told: a wrong kind is said at once, not by a test that fails for
 * another reason.
 */
import {
  checkFlag,
  checkFunction,
  checkObject,
  checkList,
  checkOptions,
  checkText,
  checkWhole,
  KernelError,
} from '@liveupdate/base';
import type { PreservableFile } from '@liveupdate/luo-core';
import { checkRamSize } from '@liveupdate/mm';
import type { FileHandlerSuite } from './suite-options.ts';

/** Every option, and whether it must be there. */
const OPTIONS: Readonly<Record<keyof FileHandlerSuite<PreservableFile>, 'needed' | 'optional'>> = {
  test: 'needed',
  handler: 'needed',
  make: 'needed',
  change: 'needed',
  same: 'needed',
  release: 'optional',
  flbs: 'optional',
  older: 'optional',
  damage: 'optional',
  processes: 'optional',
  survivesDeath: 'optional',
  title: 'optional',
  ramSize: 'optional',
  timeLimit: 'optional',
};

/** The longest delay of a timer. */
const MOST_MS = 2 ** 31 - 1;

/** @throws KernelError EINVAL: an option is missing, of a wrong kind, or does not exist */
export function checkSuite<F extends PreservableFile>(suite: FileHandlerSuite<F>): void {
  checkOptions(suite, 'a suite', Object.keys(OPTIONS));
  const { test, flbs, older, damage, processes, survivesDeath, title, ramSize, timeLimit } = suite;
  checkObject(test, 'a test runner');
  checkFunction(test.describe, 'describe of the test runner');
  checkFunction(test.it, 'it of the test runner');
  for (const name of ['handler', 'make', 'change', 'same'] as const)
    checkFunction(suite[name], `${name} of the suite`);
  if (suite.release !== undefined) checkFunction(suite.release, 'release of the suite');
  if (flbs !== undefined) {
    checkObject(flbs, 'the states of FLBs by name');
    for (const [name, state] of Object.entries(flbs)) {
      checkOptions(state, `the state of FLB '${name}'`, ['same', 'goesOn']);
      checkFunction<unknown>(Reflect.get(state, 'same'), `same of FLB '${name}'`);
      if (state.goesOn !== undefined) checkFlag(state.goesOn, `goesOn of FLB '${name}'`);
    }
  }
  if (older !== undefined) {
    for (const format of checkList(older, 'a list of older formats')) {
      checkObject(format, 'an older format');
      checkFunction(format.handler, 'handler of an older format');
      if (format.same !== undefined) checkFunction(format.same, 'same of an older format');
    }
  }
  if (damage !== undefined) {
    checkObject(damage, 'the damages by name');
    for (const [name, work] of Object.entries(damage)) checkFunction(work, `the damage '${name}'`);
  }
  if (processes !== undefined) {
    checkObject(processes, 'processes');
    for (const name of ['play', 'scenarios'] as const)
      checkFunction<unknown>(Reflect.get(processes, name), `${name} of processes`);
  }
  if (survivesDeath !== undefined) checkFlag(survivesDeath, 'survivesDeath of the suite');
  if (title !== undefined && checkText(title, 'a title') === '')
    throw new KernelError('EINVAL', 'the title of a suite is not empty');
  if (ramSize !== undefined) checkRamSize(ramSize);
  if (timeLimit !== undefined) checkWhole(timeLimit, 'a time limit', { min: 1, max: MOST_MS });
}
