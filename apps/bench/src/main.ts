#!/usr/bin/env node
/** The benchmark's command. Exit codes: 0 every goal is met, 1 one is missed or something failed, 2 wrong use. */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { codeOf, parseSize } from '@liveupdate/base';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { commitOf, load, machineFacts } from './machine-facts.ts';
import { endProgress, progressOf } from './progress.ts';
import { withFigures } from './readme.ts';
import { textReport } from './report.ts';
import { evaluate, writeResults, type Results } from './results.ts';
import { runTrial, type Measured, type Trial } from './runner.ts';
import { TRIALS } from './trials.ts';

/** The package: this file lies in src, or in dist. */
const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const SMOKE = { size: 64 * 2 ** 20, repeat: 2 };
const LEAST_SIZE = 2 ** 20;

interface Options {
  readonly size: number;
  readonly repeat: number;
  readonly json: boolean;
  readonly smoke: boolean;
  readonly readme: boolean;
  readonly out?: string;
}

function size(text: string): number {
  try {
    const bytes = parseSize(text);
    if (bytes < LEAST_SIZE || bytes % LEAST_SIZE !== 0) throw new RangeError('whole MiB');
    return bytes;
  } catch {
    throw new InvalidArgumentError('Whole MiB, such as 512MiB or 2GiB.');
  }
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000)
    throw new InvalidArgumentError('A number from 1 to 1000.');
  return value;
}

function trialNamed(name: string, before: readonly Trial[] = []): readonly Trial[] {
  const trial = TRIALS.find((each) => each.name === name);
  if (!trial) throw new InvalidArgumentError(`There are: ${TRIALS.map((each) => each.name).join(', ')}.`);
  return [...before, trial];
}

function commandLine(): Command {
  return new Command('bench')
    .description('Measures live update against the other ways to carry memory over a restart.')
    .argument('[trials...]', `which: ${TRIALS.map(({ name }) => name).join(', ')} (default: all)`, trialNamed)
    .addOption(new Option('--size <size>', 'bytes in the file').argParser(size).default(2 ** 31, '2GiB'))
    .option('--repeat <rounds>', 'rounds of each trial', count, 15)
    .option('--json', 'results as JSON on standard output', false)
    .option('--out <file>', 'where results go (default: results/ in the package, if all trials are run)')
    .option('--smoke', 'a short run that only shows that everything works: 64 MiB, 2 rounds', false)
    .option(
      '--readme',
      "insert the figures of its results file into the package's README, and measure nothing",
      false,
    )
    .exitOverride();
}

async function measure(trials: readonly Trial[], { size, repeat }: Options): Promise<Results> {
  const start = load();
  const measured = new Map<string, Measured>();
  for (const trial of trials)
    measured.set(trial.name, await runTrial(trial, { size }, repeat, progressOf(trial, repeat)));
  endProgress();
  return evaluate(measured, {
    date: new Date().toISOString(),
    commit: commitOf(PACKAGE),
    machine: machineFacts(),
    load: { start, end: load() },
    size,
    rounds: repeat,
  });
}

/** Where the results of a whole run are kept, one file per kind of machine. */
function defaultOut({ machine }: Results): string {
  const directory = join(PACKAGE, 'results');
  fs.mkdirSync(directory, { recursive: true });
  return join(directory, `${machine.arch}-${machine.cpus}cpu.json`);
}

async function run(argv: readonly string[]): Promise<number> {
  const command = commandLine();
  command.parse(argv, { from: 'user' });
  const given = command.opts<Options>();
  const options = given.smoke ? { ...given, ...SMOKE } : given;
  if (options.readme) {
    fs.writeFileSync(join(PACKAGE, 'README.md'), withFigures(PACKAGE));
    return 0;
  }
  const [chosen] = command.processedArgs as [readonly Trial[]];
  const trials = chosen.length > 0 ? chosen : TRIALS;
  if (options.out !== undefined) fs.accessSync(dirname(options.out), fs.constants.W_OK); // not after an hour of measuring
  const results = await measure(trials, options);
  const isWhole = trials.length === TRIALS.length && !options.smoke;
  const out = options.out ?? (isWhole ? defaultOut(results) : undefined);
  if (out !== undefined) writeResults(out, results);
  process.stdout.write(options.json ? `${JSON.stringify(results, undefined, 2)}\n` : textReport(results));
  if (out !== undefined) process.stderr.write(`bench: results are in ${out}\n`);
  return results.figures.some(({ verdict }) => verdict === 'fail') ? 1 : 0;
}

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  endProgress();
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2; // its own message stands on standard error already
  } else {
    process.stderr.write(`bench: ${error instanceof Error ? error.message : codeOf(error)}\n`);
    process.exitCode = 1;
  }
}
