/**
 * `npm run -s compare-caches`: this cache beside Redis, Valkey and memcached. Writes the results,
 * and what the README has of them, of commands, and of a run. `-- --smoke` measures little, and
 * writes nothing; `-- --readme` measures nothing, and writes the README of the results that are
 * there.
 */
import * as fs from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measure, type Measured, type Plan } from './measure.ts';
import { SIDES } from './sides.ts';
import { withCommands } from '../readme-commands.ts';
import { withTranscript } from '../readme-transcript.ts';
import { tableOf, withTable, type Results } from './table.ts';

const PLAN: Plan = { values: 200_000, bytes: 1024, requests: 100_000, clients: 20, load: 500 };
const SMOKE: Plan = { values: 1000, bytes: 1024, requests: 5000, clients: 5, load: 100 };
const ROUNDS = 3;

const README = fileURLToPath(new URL('../../README.md', import.meta.url));
const RESULTS = fileURLToPath(new URL('../../results/x64-2cpu.json', import.meta.url));

const { values } = parseArgs({
  options: { smoke: { type: 'boolean', default: false }, readme: { type: 'boolean', default: false } },
});
if (!values.readme) {
  const results = await compare(values.smoke ? SMOKE : PLAN, values.smoke ? 1 : ROUNDS);
  console.log(tableOf(results));
  if (!values.smoke) fs.writeFileSync(RESULTS, `${JSON.stringify(results, undefined, 2)}\n`);
}
if (!values.smoke) {
  fs.writeFileSync(README, await withTable(README));
  fs.writeFileSync(README, await withCommands(README));
  fs.writeFileSync(README, await withTranscript(README));
}

/** All in turn, and again: what the machine does beside falls on all. */
async function compare(plan: Plan, rounds: number): Promise<Results> {
  const measured = new Map<string, Measured[]>(SIDES.map(({ name }) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const side of SIDES) {
      if (side.version === undefined) continue;
      console.error(`round ${round} of ${rounds}: ${side.name}`);
      measured.get(side.name)?.push(await measure(side, plan));
    }
  }
  const sides = SIDES.map(({ name, version, advice }) => ({
    name,
    rounds: measured.get(name) ?? [],
    ...(version === undefined ? { why: `not installed; ${advice}` } : { version }),
  }));
  return { machine: `${cpus().length} cores of ${cpus()[0].model.trim()}`, plan, sides };
}
