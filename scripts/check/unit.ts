/** The tests of all packages, from sources: each test counts. */

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from './command.ts';
import { single, type Report } from './report.ts';
import { UNIT_REPORT } from './unit-reporter.ts';

/** Runs the tests whose path contains one of `filters`, or all. */
export async function unit(filters: string[]): Promise<Report> {
  const path = join(tmpdir(), `liveupdate-unit-${process.pid}.json`);
  const reporters = ['--reporter=./scripts/check/unit-reporter.ts', '--reporter=default'];
  const ended = await command('vitest', ['run', ...reporters, ...filters], { env: { [UNIT_REPORT]: path } });
  if (!existsSync(path)) return single('vitest', { ...ended, ok: false });
  const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
  rmSync(path);
  // An exit code that the report does not explain is a failure of its own.
  if (!ended.ok && report.failed.length === 0) report.failed.push({ name: 'vitest', output: ended.output });
  return report;
}
