/**
 * `npm run storm`: the kill storm at length, see packages/kexec/src/test-storm.ts. Writes
 * results/storm.json.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const HELP = `npm run storm                               20,000 kills
npm run storm -- --kills 2000 --seed 1      so many, with these operations
npm run storm -- --lanes 4                  so many services at once; default 2`;

const OPTIONS = {
  kills: { type: 'string', default: '20000' },
  seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  lanes: { type: 'string', default: '2' },
  help: { type: 'boolean', default: false },
} as const;

/** Ends with a sentence where the command line is wrong. */
function commandLine(): { kills: number; seed: number; lanes: number } {
  try {
    const { values } = parseArgs({ options: OPTIONS });
    if (values.help) {
      console.log(HELP);
      process.exit();
    }
    const [kills, seed, lanes] = [values.kills, values.seed, values.lanes].map(Number);
    if (![kills, seed, lanes].every((value) => Number.isSafeInteger(value) && value >= 0) || lanes === 0)
      throw new Error('--kills, --seed and --lanes are whole numbers');
    return { kills, seed, lanes };
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/\..*$/s, '') : String(error);
    console.error(`storm: ${why} (npm run storm -- --help)`);
    process.exit(2);
  }
}

const { kills, seed, lanes } = commandLine();
const { storm } = await import('../packages/kexec/src/test-storm.ts');
console.log(`LIVEUPDATE_SEED=${seed}`);

/** A line a second. */
let told = performance.now();
const start = told;
function tell(done: number): void {
  const now = performance.now();
  if (now - told < 1000) return;
  told = now;
  const minutes = Math.ceil((((now - start) / done) * (kills - done)) / 60_000);
  process.stderr.write(`\r${done} of ${kills} kills, ${minutes} minutes to go   `);
}

/** One that is stopped tells what it has found so far. */
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    stop.abort();
  });

const result = await storm({ kills, seed, lanes, whenKilled: tell, signal: stop.signal });
process.stderr.write('\n');
const text = `${JSON.stringify(result, null, 2)}\n`;
const folder = join(import.meta.dirname, '../results');
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'storm.json'), text);
console.log(result.failure ?? text);
process.exitCode = result.failure === undefined ? 0 : 1;
