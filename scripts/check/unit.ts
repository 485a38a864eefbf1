/** The tests of all packages, from sources: each test counts. */

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from './command.ts';
import { single, skipped, sum, type Report } from './report.ts';
import { UNIT_REPORT } from './unit-reporter.ts';

const LARGE = 'it reads large images, again and again';
const PROGRAMS = 'it starts dozens of programs';
const SUITE = 'it runs the suite that the tests of memfd-handler run too';

/** What --quick leaves out, and why. */
const LONG: Record<string, string> = {
  'apps/bench/src/child-process.test.ts': 'it waits for programs that say nothing',
  'apps/bench/src/main.test.ts': 'it measures everything once',
  'apps/bench/src/html-report.test.ts': 'it opens pages in a browser',
  'apps/cache/src/npm-clients.test.ts': PROGRAMS,
  'apps/cache/src/processes.test.ts': PROGRAMS,
  'apps/cache/src/readme.test.ts': PROGRAMS,
  'apps/cache/src/redis-suite.test.ts': "it runs Redis' own tests",
  'apps/interop/src/notify-reload.test.ts': 'it starts a systemd of its own',
  'packages/cli/src/check.test.ts': PROGRAMS,
  'packages/cli/src/dead-rams.test.ts': PROGRAMS,
  'packages/cli/src/demo.test.ts': PROGRAMS,
  'packages/cli/src/deploy.test.ts': PROGRAMS,
  'packages/cli/src/demo-upgrade.test.ts': PROGRAMS,
  'packages/cli/src/export-import.test.ts': PROGRAMS,
  'packages/cli/src/find-entry.test.ts': LARGE,
  'packages/cli/src/hostile-images.fuzz.ts': LARGE,
  'packages/cli/src/inspect-html.test.ts': 'it opens pages in a browser',
  'packages/cli/src/inspect.test.ts': LARGE,
  'packages/cli/src/inspect-damage.test.ts': LARGE,
  'packages/cli/src/moment.test.ts': LARGE,
  'packages/cli/src/rams.test.ts': PROGRAMS,
  'packages/cli/src/first-process.test.ts': PROGRAMS,
  'packages/cli/src/renew.test.ts': PROGRAMS,
  'packages/cli/src/run.test.ts': PROGRAMS,
  'packages/cli/src/systemd.test.ts': 'it starts a systemd of its own',
  'packages/service/src/deaths.test.ts': PROGRAMS,
  'packages/service/src/foreign-clients.test.ts': PROGRAMS,
  'packages/service/src/exec.test.ts': PROGRAMS,
  'packages/service/src/hundred-upgrades.test.ts': 'it upgrades a service a hundred times',
  'packages/service/src/websockets.test.ts': PROGRAMS,
  'packages/code-cache/src/code-cache.test.ts': PROGRAMS,
  'packages/eventfd-handler/src/handler-suite.test.ts': SUITE,
  'packages/fd-handler/src/handler-suite.test.ts': SUITE,
  'packages/fd-handler/src/descriptors.test.ts': PROGRAMS,
  'packages/handler-testkit/src/broken-handlers.test.ts':
    'it runs the whole suite for each of dozens of faults',
  'packages/kexec/src/ends.test.ts': PROGRAMS,
  'packages/kexec/src/failing-versions.test.ts': PROGRAMS,
  'packages/kexec/src/files.test.ts': PROGRAMS,
  'packages/kexec/src/first-open.test.ts': PROGRAMS,
  'packages/kexec/src/first-turn.test.ts': PROGRAMS,
  'packages/kexec/src/full.fuzz.ts': 'it makes twenty thousand operations on a full file system',
  'packages/kexec/src/growth.test.ts': PROGRAMS,
  'packages/kexec/src/inherited-rams.test.ts': PROGRAMS,
  'packages/kexec/src/next-program.test.ts': PROGRAMS,
  'packages/kexec/src/readme-service.test.ts': 'it starts a service again and again',
  'packages/kexec/src/shared-views.test.ts': PROGRAMS,
  'packages/kexec/src/slow-handler.test.ts': PROGRAMS,
  'packages/kho/src/failure.test.ts': 'it fails each allocation of dozens of operations',
  'packages/linux/src/children.test.ts': PROGRAMS,
  'packages/linux/src/mapped-view.test.ts': 'it waits for garbage to be collected, and makes 65,000 views',
  'packages/linux/src/process.test.ts': PROGRAMS,
  'packages/memfd-handler/src/hostile.fuzz.ts': 'it reads thousands of damaged handovers',
  'packages/memfd-handler/src/thousand.test.ts': 'it makes a thousand generations',
  'scripts/check/apt.test.ts': 'it waits for locks',
};

/** Runs the tests whose path contains one of `filters`, or all. */
export function unit(filters: string[]): Promise<Report> {
  return run('sources', filters, {});
}

/** Those that look at memory after every store, beside the others: one of them takes minutes. */
export function stores(filters: string[], isQuick = false): Promise<Report> {
  return run('stores', ['--maxWorkers=1', ...filters], isQuick ? { LIVEUPDATE_QUICK: '1' } : {});
}

/** Those that boot a real Linux. */
export function linux(filters: string[]): Promise<Report> {
  return run('linux', filters, {});
}

/**
 * The tests of all packages without what takes long, and with a fraction of the rounds of random
 * tests.
 */
export async function quickUnit(filters: string[]): Promise<Report> {
  const without = Object.keys(LONG).map((path) => `--exclude=${path}`);
  const left = Object.entries(LONG).map(([path, why]) => skipped(path, `--quick leaves it out: ${why}`));
  const rounds = skipped('most rounds of the random tests', '--quick leaves them out: they take minutes');
  const report = await run('sources', [...without, ...filters], { LIVEUPDATE_QUICK: '1' });
  return sum([report, ...left, rounds]);
}

async function run(project: string, args: string[], env: Record<string, string>): Promise<Report> {
  const path = join(tmpdir(), `liveupdate-${project}-${process.pid}.json`);
  const reporters = ['--reporter=./scripts/check/unit-reporter.ts', '--reporter=default'];
  const ended = await command('vitest', ['run', `--project=${project}`, ...reporters, ...args], {
    env: { ...env, [UNIT_REPORT]: path },
  });
  if (!existsSync(path)) return single('vitest', { ...ended, ok: false });
  const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
  rmSync(path);
  // An exit code that the report does not explain is a failure of its own.
  if (!ended.ok && report.failed.length === 0) report.failed.push({ name: 'vitest', output: ended.output });
  return report;
}
