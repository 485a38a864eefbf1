/**
 * A reporter for Vitest: what check.ts needs to know, as JSON. Unlike Vitest's own it tells why a
 * test was skipped.
 */

import { writeFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule } from 'vitest/node';
import type { Report } from './report.ts';

/** Environment variable with the path of the report. */
export const UNIT_REPORT = 'LIVEUPDATE_UNIT_REPORT';

interface Failure {
  message: string;
  stack?: string | undefined;
  diff?: string | undefined;
}

const describe = (errors: readonly Failure[]) =>
  errors
    .map(({ message, stack, diff }) => [ownFrames(stack ?? message), diff].filter(Boolean).join('\n'))
    .join('\n\n');

const ownFrames = (stack: string) =>
  stack.replaceAll(/\n +at .*(node_modules|<anonymous>|node:internal).*/g, '');

export default class UnitReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly Failure[]): void {
    const report: Report = { passed: 0, failed: [], skipped: [] };
    for (const module of modules) {
      const errors = [
        ...module.errors(),
        ...[...module.children.allSuites()].flatMap((suite) => suite.errors()),
      ];
      if (errors.length > 0) report.failed.push({ name: module.relativeModuleId, output: describe(errors) });
      for (const test of module.children.allTests()) add(report, test);
    }
    if (unhandled.length > 0)
      report.failed.push({ name: 'errors outside of any test', output: describe(unhandled) });
    const path = process.env[UNIT_REPORT];
    if (path !== undefined) writeFileSync(path, JSON.stringify(report));
  }
}

function add(report: Report, test: TestCase): void {
  const name = `${test.module.relativeModuleId} > ${test.fullName}`;
  const result = test.result();
  if (result.state === 'passed') report.passed++;
  else if (result.state === 'failed') report.failed.push({ name, output: describe(result.errors) });
  else
    report.skipped.push({ name, reason: (result.state === 'skipped' && result.note) || 'no reason given' });
}
