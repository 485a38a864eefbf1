/**
 * `npm test`: everything that must hold before a change goes in, two checks at a time, and one sum at the end.
 *
 *   npm test                                everything
 *   npm test -- --only unit,lint            some checks
 *   npm test -- --only unit packages/kho    the tests whose path contains a word
 */

import { parseArgs } from 'node:util';
import { browser } from './check/browser.ts';
import { command } from './check/command.ts';
import { components } from './check/components.ts';
import { install } from './check/install.ts';
import { attw, publint } from './check/packages.ts';
import { readmeExamples } from './check/readme-examples.ts';
import { single, sum, type Report } from './check/report.ts';
import { sizes } from './check/sizes.ts';
import { thirdParty } from './check/third-party.ts';
import { unit } from './check/unit.ts';

const AT_ONCE = 2;

interface Check {
  title: string;
  /** Other checks that must have passed, and those that they are after. */
  after?: readonly string[];
  run: () => Promise<Report>;
}

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: { only: { type: 'string' } },
});

const one = async (name: string, ...args: string[]) =>
  single([name, ...args].join(' '), await command(name, args));

// The long ones first, so that two at a time end together.
const checks: Record<string, Check> = {
  components: { title: 'programs of Debian that tests measure ours against', run: components },
  build: { title: 'bundles and declarations of all packages (turbo, tsup)', run: build },
  lint: { title: 'ESLint', run: () => one('eslint', '.', '--max-warnings=0') },
  unit: { title: 'tests of all packages (Vitest)', after: ['components'], run: () => unit(positionals) },
  examples: { title: 'the code blocks of the READMEs and guides', run: readmeExamples },
  install: {
    title: 'each package installed alone from its tarball: its example runs there, its types resolve',
    after: ['build'],
    run: install,
  },
  browser: {
    title: 'the core packages bundled for a browser, and a handover in a page of Chromium',
    after: ['build', 'install', 'components'],
    run: browser,
  },
  'third-party': {
    title: "a third party's handler, outside of the workspace: from tarballs, its types, its suite",
    after: ['build'],
    run: thirdParty,
  },
  attw: { title: 'types as users see them (are the types wrong?)', after: ['build'], run: attw },
  sizes: { title: 'the table of sizes is current (docs/sizes.md)', after: ['build'], run: sizes },
  publint: { title: 'packages as users get them (publint --strict)', after: ['build'], run: publint },
  api: {
    title: 'the API reference, without a warning (TypeDoc, into reports/api)',
    run: () => one('typedoc', '--logLevel', 'Warn'),
  },
  types: { title: 'TypeScript: everything, then the core packages without Node.js', run: types },
  circles: {
    title: 'no circles between files, types included (dependency-cruiser)',
    run: () => one('depcruise', 'packages', 'apps', 'scripts'),
  },
  format: { title: 'Prettier', run: () => one('prettier', '--check', '--log-level=warn', '.') },
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

async function types(): Promise<Report> {
  return sum([await one('tsc', '-p', 'tsconfig.json'), await one('tsc', '-p', 'tsconfig.core.json')]);
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
  let report: Report;
  if (broken) {
    report = { passed: 0, failed: [], skipped: [{ name, reason: `${broken[0]} failed` }] };
  } else {
    report = await check.run().catch((error: unknown) => single(name, { ok: false, output: String(error) }));
  }
  free++;
  waiting.shift()?.();
  print(name, check, report, performance.now() - start);
  return report;
}

function print(name: string, { title }: Check, { passed, failed, skipped, notes }: Report, ms: number): void {
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
