/** For tests: suites of handlers, some of whose callbacks are replaced by wrong ones. */
import type { FileHandler, FileLifecycleBound } from '@liveupdate/luo-core';
import { testFileHandler } from './suite.ts';
import type { FileHandlerSuite, KernelParts, TestRunner } from './suite-options.ts';
import { counterFiles, counterHandler, type Counter } from './test-counter.ts';
import { rolledHandler, rollFlb, rollStates, type Roll } from './test-roll.ts';
import { sheetsFiles, sheetsHandler, type Sheets } from './test-sheets.ts';

export interface Fault {
  readonly fault: string;
  readonly test: string;
  /** With `…` for the number of each address and frame. */
  readonly message: string;
  /** Defines the suite. */
  readonly define: (test: TestRunner) => void;
}

/**
 * A time limit so that tests of what never ends do not take long, and little memory, for each
 * kernel is made with all of it.
 */
const small = { timeLimit: 500, ramSize: 2 ** 20 };

type Broken<F extends object> = (parts: KernelParts, handler: FileHandler<F>) => Partial<FileHandler<F>>;

/** The counter handler with some callbacks replaced. */
export function counters(broken: Broken<Counter>): Fault['define'] {
  return (test) => {
    const handler = (parts: KernelParts) => {
      const right = counterHandler(parts);
      return { ...right, ...broken(parts, right) };
    };
    testFileHandler({ ...counterFiles, ...small, test, handler });
  };
}

/** The same of the handler whose files grow. */
export function sheets(broken: Broken<Sheets>): Fault['define'] {
  return (test) => {
    const handler = (parts: KernelParts) => {
      const right = sheetsHandler(parts);
      return { ...right, ...broken(parts, right) };
    };
    testFileHandler({ ...sheetsFiles, ...small, test, handler });
  };
}

/** Counters with a roll, some of whose callbacks are replaced. */
export function rolls(
  broken: (parts: KernelParts, flb: FileLifecycleBound<Roll>) => Partial<FileLifecycleBound<Roll>>,
  flbs: FileHandlerSuite<Counter>['flbs'] = rollStates,
): Fault['define'] {
  return (test) => {
    const handler = (parts: KernelParts) => {
      const right = rollFlb(parts);
      return rolledHandler(parts, { ...right, ...broken(parts, right) });
    };
    testFileHandler({ ...counterFiles, ...small, test, handler, flbs });
  };
}
