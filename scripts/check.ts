/**
 * `npm test`: everything that must hold before a change goes in, two checks at a time, and one sum
 * at the end. `npm test -- --help` tells the rest.
 */

import { existsSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { baselineTypes } from './check/baseline-types.ts';
import { browser } from './check/browser.ts';
import { command } from './check/command.ts';
import { components } from './check/components.ts';
import { containers } from './check/containers.ts';
import { install, installSome } from './check/install.ts';
import { mixedVersions } from './check/mixed-versions.ts';
import { mutants } from './check/mutants.ts';
import { oneConstant } from './check/one-constant.ts';
import { packageManagers } from './check/package-managers.ts';
import { attw, publint } from './check/packages.ts';
import { quickExamples, readmeExamples } from './check/readme-examples.ts';
import { single, skipped, sum, type Report } from './check/report.ts';
import { rehearsal } from './check/release.ts';
import { runtimes } from './check/runtimes.ts';
import { sizes } from './check/sizes.ts';
import { thirdParty } from './check/third-party.ts';
import { linux, quickUnit, stores, unit } from './check/unit.ts';

const AT_ONCE = 2;

interface Check {
  title: string;
  /** Other checks that must have passed, and those that they are after. */
  after?: readonly string[];
  run: () => Promise<Report>;
  /** With --quick: what is run instead, or why nothing is. Default: the same. */
  quick?: (() => Promise<Report>) | string;
}

const HELP = `npm test                                everything: a change goes in when nothing fails
npm test -- --quick                     the most telling part of everything, in three minutes
npm test -- --only unit,lint            some checks
npm test -- --only unit packages/kho    the tests whose path contains a word
npm test -- --help                      this

--quick runs fewer rounds of random tests, lints what changed since it was linted last, installs a
few packages only, and leaves out what needs long: each part left out is SKIPPED, with the reason.
Two checks run at a time. What is not run says SKIPPED and why; the last line is the sum of all.

Checks:`;

const OPTIONS = {
  only: { type: 'string' },
  quick: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

const { values, positionals } = commandLine();

/** Ends with a sentence where the command line is wrong. */
function commandLine() {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS });
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/\..*$/s, '') : String(error);
    const known = Object.keys(OPTIONS).map((name) => `--${name}`);
    console.error(`npm test: ${why}; there are ${known.join(', ')} (npm test -- --help)`);
    process.exit(2);
  }
}

/** Of a check that is a program for each package. */
const LONG = 'it takes half a minute, and tells little that the others do not';

/** Where checkers keep what they know of files that have not changed. */
const CACHE = 'node_modules/.cache';
const LINTED = `${CACHE}/eslint`;

const one = async (name: string, ...args: string[]) =>
  single([name, ...args].join(' '), await command(name, args));

// The long ones first, so that two at a time end together.
const checks: Record<string, Check> = {
  components: {
    title: 'programs of Debian that tests measure ours against',
    run: components,
    quick: 'it may have to install some; tests whose program is missing are skipped',
  },
  build: { title: 'bundles and declarations of all packages (turbo, tsup)', run: build },
  stores: {
    title: 'tests that let a kernel die at every store (Vitest)',
    run: () => stores(positionals),
    quick: () => stores(positionals, true),
  },
  lint: { title: 'ESLint', run: lint, quick: lintChanged },
  unit: {
    title: 'tests of all packages (Vitest)',
    after: ['components'],
    run: () => unit(positionals),
    quick: () => quickUnit(positionals),
  },
  linux: {
    title: 'handovers traded with a real Linux, in QEMU (Vitest)',
    after: ['components'],
    run: () => linux(positionals),
    quick: 'it boots a kernel again and again',
  },
  mutants: {
    title: 'changes that break a promise about a death, one by one: tests must fail',
    after: ['unit', 'stores'],
    run: mutants,
    quick: 'it runs tests again for each of twenty-eight changes',
  },
  examples: {
    title: 'the code blocks of the READMEs and guides',
    run: () => readmeExamples(),
    quick: quickExamples,
  },
  install: {
    title: 'each package installed alone from its tarball: its example runs there, its types resolve',
    after: ['build'],
    run: install,
    quick: installSome,
  },
  browser: {
    title: 'the core packages bundled for a browser, and a handover in a page of Chromium',
    after: ['build', 'install', 'components'],
    run: browser,
    quick: 'it starts a browser, on all packages installed',
  },
  'mixed-versions': {
    title: 'two copies of a package in one tree: each a patch, a minor, a major ahead of the rest',
    after: ['build'],
    run: mixedVersions,
    quick: 'it installs seventeen trees',
  },
  containers: {
    title: 'Docker and Kubernetes, as docs/deploy.md has them: in containers',
    after: ['build', 'components'],
    run: containers,
    quick: 'it starts a Docker daemon, and builds an image',
  },
  runtimes: {
    title: 'each package on the oldest and the newest Node.js; the core on Node.js 20, Deno and Bun',
    after: ['build', 'install'],
    run: runtimes,
    quick: 'it downloads runtimes, and needs all packages installed',
  },
  'package-managers': {
    title: 'kexec installed by pnpm, yarn 1, yarn 4 and bun, imported and required',
    after: ['build'],
    run: packageManagers,
    quick: 'it downloads package managers',
  },
  release: {
    title: 'a release, rehearsed: versions, build, publish, tags, and installed by name',
    after: ['build'],
    run: rehearsal,
    quick: 'it builds everything once more, as a release would',
  },
  'third-party': {
    title: "a third party's handler, outside of the workspace: from tarballs, its types, its suite",
    after: ['build'],
    run: thirdParty,
    quick: 'it installs a workspace of its own',
  },
  attw: { title: 'types as users see them (are the types wrong?)', after: ['build'], run: attw, quick: LONG },
  sizes: {
    title: 'the table of sizes is current (docs/sizes.md)',
    after: ['build'],
    run: sizes,
    quick: LONG,
  },
  'one-constant': {
    title: 'an application that imports one constant of a core package ships that (esbuild, Rollup)',
    after: ['build'],
    run: oneConstant,
    quick: LONG,
  },
  publint: {
    title: 'packages as users get them (publint --strict)',
    after: ['build'],
    run: publint,
    quick: LONG,
  },
  api: {
    title: 'the API reference, without a warning (TypeDoc, into reports/api)',
    run: () => one('typedoc', '--logLevel', 'Warn'),
    quick: LONG,
  },
  'baseline-types': {
    title: 'types of the core packages for the oldest programs that they promise (TypeScript 5.7, ES2022)',
    after: ['build'],
    run: baselineTypes,
    quick: LONG,
  },
  types: { title: 'TypeScript: everything, then the core packages without Node.js', run: types },
  circles: {
    title: 'no circles between files, types included (dependency-cruiser)',
    run: () => one('depcruise', 'packages', 'apps', 'scripts'),
  },
  format: { title: 'Prettier', run: format },
  knip: { title: 'unused files, exports, dependencies (Knip)', run: () => one('knip') },
};

function build(): Promise<Report> {
  return one(
    'node',
    'scripts/pnpm.cjs',
    'exec',
    'turbo',
    'run',
    'bundle',
    'declarations',
    '--output-logs=errors-only',
  );
}

/** The compiler keeps what it knows, and looks again at what a change can touch. */
async function types(): Promise<Report> {
  const reports: Report[] = [];
  for (const project of ['tsconfig', 'tsconfig.core']) {
    const known = ['--incremental', '--tsBuildInfoFile', `${CACHE}/${project}.tsbuildinfo`];
    reports.push(await one('tsc', '-p', `${project}.json`, ...known));
  }
  return sum(reports);
}

function format(): Promise<Report> {
  const known = ['--cache', '--cache-strategy=content'];
  return one('prettier', '--check', '--log-level=warn', ...known, '.');
}

/** All files, whatever is known of them: what a file imports decides too. */
function lint(): Promise<Report> {
  rmSync(LINTED, { force: true });
  return eslint();
}

async function lintChanged(): Promise<Report> {
  const reason = 'of a file that has not changed, only what it imports can be wrong';
  const known = existsSync(LINTED) ? [skipped('files that were linted before', reason)] : [];
  return sum([await eslint(), ...known]);
}

function eslint(): Promise<Report> {
  const known = ['--cache', '--cache-strategy=content', `--cache-location=${LINTED}`];
  return one('eslint', '.', '--max-warnings=0', ...known);
}

if (values.help) {
  console.log(HELP);
  for (const [name, { title }] of Object.entries(checks)) console.log(`  ${name.padEnd(16)}${title}`);
  process.exit();
}

const wanted = new Set(values.only?.split(',') ?? Object.keys(checks));
for (const name of wanted) {
  if (!Object.hasOwn(checks, name)) {
    console.error(`no check is called ${name}; there are ${Object.keys(checks).join(', ')}`);
    process.exit(2);
  }
  for (const other of checks[name].after ?? []) wanted.add(other);
}

const done = new Map<string, Promise<Report>>();
let free = AT_ONCE;
const waiting: (() => void)[] = [];

/** Runs a check when its turn comes, and prints it when it is done. */
async function perform(name: string, check: Check): Promise<Report> {
  const before = await Promise.all(
    (check.after ?? []).map(async (other) => [other, await done.get(other)] as const),
  );
  const broken = before.find(([, report]) => report?.failed.length);
  while (free === 0) await new Promise<void>((resolve) => waiting.push(resolve));
  free--;
  const start = performance.now();
  const run = (values.quick && check.quick) || check.run;
  let report: Report;
  if (broken) {
    report = skipped(name, `${broken[0]} failed`);
  } else if (typeof run === 'string') {
    report = skipped(name, `--quick leaves it out: ${run}`);
  } else {
    report = await run().catch((error: unknown) => single(name, { ok: false, output: String(error) }));
  }
  free++;
  waiting.shift()?.();
  print(name, check, report, performance.now() - start);
  return report;
}

function print(name: string, { title }: Check, report: Report, ms: number): void {
  const { passed, failed, skipped, notes } = report;
  console.log(`\n== ${name}: ${title}`);
  for (const note of notes ?? []) console.log(`   ${note}`);
  for (const { name, reason } of skipped) console.log(`   SKIPPED ${name}\n           because: ${reason}`);
  for (const { name, output } of failed) console.log(`   FAILED  ${name}\n${indent(output.trimEnd())}\n`);
  console.log(
    `   ${passed} passed, ${failed.length} failed, ${skipped.length} skipped in ${(ms / 1000).toFixed(1)} s`,
  );
}

const indent = (text: string) => text.replaceAll(/^/gm, '      ');

for (const [name, check] of Object.entries(checks))
  if (wanted.has(name)) done.set(name, perform(name, check));
const total = sum(await Promise.all(done.values()));

if (total.skipped.length > 0)
  console.log(`\n!! ${total.skipped.length} skipped: see SKIPPED above for what and why`);
if (total.failed.length > 0) {
  console.log('\n!! failed:');
  for (const [name, report] of done) {
    for (const failure of (await report).failed) console.log(`   ${name}: ${failure.name}`);
  }
}
console.log(`\n${total.passed} passed, ${total.failed.length} failed, ${total.skipped.length} skipped`);
process.exitCode = total.failed.length > 0 ? 1 : 0;
