#!/usr/bin/env node
/**
 * The benchmark's command. Exit codes: 0 every goal is met, 1 one is missed or something failed, 2
 * wrong use.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { codeOf } from '@liveupdate/base';
import { Command, CommanderError, Option } from 'commander';
import { comparison, type Comparison } from './compare-report.ts';
import { disturbed } from './disturbance.ts';
import { exitOnSignals } from './exit-on-signals.ts';
import { htmlReport } from './html-report.ts';
import { measure, type MeasureOptions } from './measure.ts';
import { count, listOfSizes, size, trialNamed } from './option-values.ts';
import { measurePictured, readPictured, writePictured, type PictureOptions } from './pictured-upgrades.ts';
import { PROFILED } from './profile.ts';
import { endProgress, Progress } from './progress.ts';
import { withFigures } from './readme.ts';
import { textReport } from './report.ts';
import { brokenFigures, readResults, resultsText, writeResults } from './results.ts';
import type { Results } from './results-format.ts';
import type { Trial } from './runner.ts';
import { TRIALS } from './trials.ts';
import { upgradePictures } from './upgrade-picture.ts';

/** The package: this file lies in src, or in dist. */
const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** What is not asked for on the command line. */
const DEFAULTS = { size: GiB, series: [64 * MiB, 256 * MiB, GiB, 4 * GiB], repeat: 9, warmUp: 2 };
const FULL_SERIES = [64 * MiB, 256 * MiB, GiB, 4 * GiB, 16 * GiB];
const SMOKE = {
  size: 64 * MiB,
  series: [],
  most: 64 * MiB,
  rounds: 1,
  warmUp: 0,
  isApart: false,
  profilePasses: 1,
};
const PROFILE_PASSES = 5;
/** Milliseconds of load around an upgrade that is drawn: code is compiled by then. */
const PICTURE_LOADED_MS = 1500;
const SMOKE_PICTURE = { size: 64 * MiB, upgrades: 1, loadedMs: 200 };

interface Options {
  readonly size?: number;
  readonly sizes?: readonly number[];
  readonly full: boolean;
  readonly repeat: number;
  readonly profile: boolean;
  readonly json: boolean;
  readonly smoke: boolean;
  readonly readme: boolean;
  readonly out?: string;
  readonly html?: string;
}

function commandLine(done: (status: number) => void): Command {
  const program = new Command('bench')
    .description('Measures live update against the other ways to carry memory over a restart.')
    .addHelpText('after', '\nOptions and trials of a run: bench run --help')
    .exitOverride();
  const list = TRIALS.map(
    ({ name, title, extra }) => `  ${name.padEnd(14)} ${title}${extra ? ' (extra)' : ''}`,
  );
  program
    .command('run', { isDefault: true })
    .description('measure, and report (this is the default)')
    .argument('[trials...]', 'which; default all but the extra ones', trialNamed)
    .addOption(new Option('--size <size>', 'bytes in the files (default: 1GiB)').argParser(size))
    .addOption(
      new Option(
        '--sizes <sizes>',
        'sizes of the trials that are run at several, such as 64MiB,16GiB',
      ).argParser(listOfSizes),
    )
    .option('--full', 'everything: extra trials too, and sizes from 64 MiB to 16 GiB', false)
    .option('--repeat <rounds>', 'rounds of each trial, after two that do not count', count, DEFAULTS.repeat)
    .option('--no-profile', 'leave out where the time goes')
    .option('--json', 'results as JSON on standard output', false)
    .option('--out <file>', 'where results go (default: results/ in the package, if all is run)')
    .option('--html <file>', 'a page with charts (default: beside the results)')
    .option('--smoke', 'a short run that only shows that everything works: 64 MiB, one round', false)
    .option('--readme', 'insert the figures of its results file into the READMEs, and measure nothing', false)
    .addHelpText('after', `\nTrials:\n${list.join('\n')}`)
    .action(async (trials: readonly Trial[], options: Options) => {
      done(await (options.readme ? writeReadmes() : run(trials, options)));
    });
  program
    .command('picture')
    .description('one upgrade under load, moment by moment, ours and others: measures and draws it')
    .addOption(new Option('--size <size>', 'bytes of state').argParser(size).default(DEFAULTS.size, '1GiB'))
    .option('--upgrades <upgrades>', 'of each side; the one with the median gap is drawn', count, 9)
    .option('--out <file>', 'where it goes; the pictures beside it (default: results/ in the package)')
    .option('--smoke', 'a short one that only shows that everything works: 64 MiB, one upgrade', false)
    .option('--from <file>', 'draws a file that is there, and measures nothing')
    .action(async (options: PictureCommand) => {
      done(await picture(options));
    });
  program
    .command('compare')
    .description(
      'what got better or worse beyond noise; exit code 1 if a figure got worse, 2 without a verdict',
    )
    .argument('<old>', 'a results file')
    .argument('<new>', 'another')
    .action((old: string, fresh: string) => {
      done(compare(old, fresh));
    });
  program
    .command('html')
    .description('a page with charts of a results file; it stands alone')
    .argument('<results>', 'a results file')
    .argument('<page>', 'where the page goes')
    .action(async (results: string, page: string) => {
      fs.writeFileSync(page, await htmlReport(readResults(results)));
      done(0);
    });
  return program;
}

interface PictureCommand extends Pick<PictureOptions, 'size' | 'upgrades'> {
  readonly out?: string;
  readonly smoke: boolean;
  readonly from?: string;
}

async function picture({ from, smoke, size, upgrades, out }: PictureCommand): Promise<number> {
  if (from !== undefined) {
    writeAll(await upgradePictures(from, readPictured(from)));
    return 0;
  }
  const options = smoke ? SMOKE_PICTURE : { size, upgrades, loadedMs: PICTURE_LOADED_MS };
  if (out !== undefined) fs.accessSync(dirname(out), fs.constants.W_OK); // not after minutes
  const { upgrades: times } = options;
  const progress = new Progress(times);
  let report: (round: number) => void = () => undefined;
  let last = 0;
  const measured = await measurePictured({ ...options, directory: PACKAGE }, (_, upgrade) => {
    if (upgrade !== last) report = progress.next('upgrades under load', options.size, times);
    last = upgrade;
    report(upgrade);
  });
  endProgress();
  const file = out ?? resultsPath(measured, '-upgrade.json');
  writePictured(file, measured);
  writeAll(await upgradePictures(file, measured));
  const doubt = disturbed(measured.disturbance);
  if (doubt !== undefined) process.stderr.write(`bench: NO TRUST: ${doubt}\n`);
  process.stderr.write(`bench: written to ${file}, with pictures beside it\n`);
  return 0;
}

/** What to measure, and how often. */
function measureOptions(options: Options): MeasureOptions {
  if (options.smoke) return { ...SMOKE, profiled: options.profile ? 1 : 0, directory: PACKAGE };
  const asked = options.sizes ?? (options.size === undefined ? undefined : []);
  const series = asked ?? (options.full ? FULL_SERIES : DEFAULTS.series);
  return {
    size: options.size ?? (series.includes(DEFAULTS.size) ? DEFAULTS.size : Math.max(...series)),
    series,
    rounds: options.repeat,
    warmUp: DEFAULTS.warmUp,
    isApart: true,
    profiled: options.profile ? PROFILED.length : 0,
    profilePasses: PROFILE_PASSES,
    directory: PACKAGE,
  };
}

async function run(chosen: readonly Trial[], options: Options): Promise<number> {
  const usual = TRIALS.filter(({ extra }) => extra !== true || options.full || options.smoke);
  const trials = chosen.length > 0 ? chosen : usual;
  for (const file of [options.out, options.html])
    if (file !== undefined) fs.accessSync(dirname(file), fs.constants.W_OK); // not after an hour of measuring
  const results = await measure(trials, measureOptions(options));
  const isWhole = chosen.length === 0 && !options.smoke && options.size === undefined && options.profile;
  const out = options.out ?? (isWhole ? resultsPath(results, '.json') : undefined);
  const html = options.html ?? (isWhole ? out?.replace(/(\.json)?$/, '.html') : undefined);
  if (out !== undefined) writeResults(out, results);
  if (html !== undefined) fs.writeFileSync(html, await htmlReport(results));
  process.stdout.write(options.json ? `${resultsText(results)}\n` : textReport(results));
  for (const file of [out, html]) if (file !== undefined) process.stderr.write(`bench: written to ${file}\n`);
  const broken = brokenFigures(results);
  for (const { title, result, sane } of broken)
    process.stderr.write(`bench: BROKEN ${title}: ${result.median}, where ${sane} is beyond doubt\n`);
  return broken.length > 0 || results.figures.some(({ verdict }) => verdict === 'fail') ? 1 : 0;
}

/**
 * Where the results of a whole run are kept, one file per kind of machine: in a checkout with it,
 * elsewhere where the caller stands.
 */
function resultsPath({ machine, commit }: Pick<Results, 'machine' | 'commit'>, ending: string): string {
  const name = `${machine.arch}-${machine.cpus}cpu${ending}`;
  if (commit === undefined) return `liveupdate-bench-${name}`;
  const directory = join(PACKAGE, 'results');
  fs.mkdirSync(directory, { recursive: true });
  return join(directory, name);
}

/** This package's README, and the front page where this is a checkout. */
async function writeReadmes(): Promise<number> {
  const root = join(PACKAGE, '../..');
  const directories = fs.existsSync(join(root, 'pnpm-workspace.yaml')) ? [PACKAGE, root] : [PACKAGE];
  const marked = await Promise.all(directories.map(withFigures));
  for (const [i, { text, pictures }] of marked.entries()) {
    fs.writeFileSync(join(directories[i], 'README.md'), text);
    writeAll(pictures);
  }
  return 0;
}

function writeAll(texts: ReadonlyMap<string, string>): void {
  for (const [path, text] of texts) fs.writeFileSync(path, text);
}

const COMPARED: Readonly<Record<Comparison['outcome'], number>> = { 'not worse': 0, worse: 1, none: 2 };

/** Of files that cannot be read nothing can be said, as of those without a verdict. */
function compare(old: string, fresh: string): number {
  let files: Results[];
  try {
    files = [old, fresh].map(readResults);
  } catch (error) {
    process.stderr.write(`bench: ${messageOf(error)}\n`);
    return COMPARED.none;
  }
  const { text, outcome } = comparison(files[0], files[1]);
  process.stdout.write(text);
  return COMPARED[outcome];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : codeOf(error);
}

exitOnSignals();
try {
  await commandLine((status) => {
    process.exitCode = status;
  }).parseAsync(process.argv.slice(2), { from: 'user' });
} catch (error) {
  endProgress();
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2; // its own message stands on standard error already
  } else {
    process.stderr.write(`bench: ${messageOf(error)}\n`);
    process.exit(1); // whatever still waits
  }
}
