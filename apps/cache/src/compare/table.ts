/** The results as a file has them, and as the table in the README. */
import * as fs from 'node:fs';
import type { Incident, Measured, Plan, Rate } from './measure.ts';

export interface Results {
  readonly machine: string;
  readonly plan: Plan;
  /** In the order of the table; `why` where one was not measured. */
  readonly sides: readonly {
    readonly name: string;
    readonly version?: string;
    readonly why?: string;
    readonly rounds: readonly Measured[];
  }[];
}

const BEGIN = /(<!-- comparison: (\S+) -->\n).*?(<!-- comparison end -->)/s;
const MIB = 2 ** 20;
const RATES = ['set', 'get', 'set x 16', 'get x 16'];

/** A README with the table of the results file that it names, which lies relative to it. */
export async function withTable(path: string): Promise<string> {
  const text = fs.readFileSync(path, 'utf8');
  const file = BEGIN.exec(text)?.[2];
  if (file === undefined) throw new Error(`${path} has no place for the comparison`);
  const results = JSON.parse(fs.readFileSync(new URL(file, `file://${path}`), 'utf8')) as Results;
  const fresh = text.replace(
    BEGIN,
    (_, begin: string, __, end: string) => `${begin}\n${tableOf(results)}\n\n${end}`,
  );
  const { format, resolveConfig } = await import('prettier');
  return format(fresh, { ...(await resolveConfig(path)), parser: 'markdown' });
}

export function tableOf({ machine, plan, sides }: Results): string {
  const head = [
    '',
    'upgrade: lost',
    'nobody answered',
    'errors',
    '`kill -9`: lost',
    'nobody answered',
    'errors',
    'memory',
    'SET',
    'GET',
    'SET × 16',
    'GET × 16',
  ];
  const rows = sides.map(({ name, version = '', why, rounds }) =>
    rounds.length === 0
      ? [name, why ?? '', ...Array.from({ length: head.length - 2 }, () => '')]
      : [
          `${name} ${version.startsWith('v') ? `(Node.js ${version.slice(1)})` : version}`,
          ...incidents(rounds, 'upgrade'),
          ...incidents(rounds, 'kill'),
          `${Math.round(median(rounds.map(({ memory }) => memory)) / MIB)} MiB`,
          ...RATES.map((rate) => rateOf(rounds, rate)),
        ],
  );
  const lines = [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows];
  const { values, bytes, clients } = plan;
  const how = `Medians of ${Math.max(...sides.map(({ rounds }) => rounds.length))} rounds on ${machine}, with ${values.toLocaleString('en')} values of ${bytes} bytes, and ${clients} clients while it is upgraded or killed. The server has one core. Rates are of redis-benchmark with 50 connections, in thousands a second: as seen, and (for each second of the server's processor).`;
  return `${how}\n\n${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}`;
}

function incidents(rounds: readonly Measured[], which: 'upgrade' | 'kill'): string[] {
  const all = rounds.map((round): Incident => round[which]);
  const share = median(all.map(({ lost, acknowledged }) => lost / acknowledged));
  return [
    share === 0 && all.every(({ lost }) => lost === 0) ? '0' : `${(100 * share).toFixed(0)} %`,
    milliseconds(median(all.map(({ gap }) => gap))),
    String(median(all.map(({ errors }) => errors))),
  ];
}

function milliseconds(value: number): string {
  return value < 1000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`;
}

function rateOf(rounds: readonly Measured[], name: string): string {
  const rates = rounds.flatMap(({ rates }) =>
    (rates as Partial<Record<string, Rate>>)[name] ? [rates[name]] : [],
  );
  if (rates.length === 0) return '—';
  const thousands = (of: keyof Rate): string => (median(rates.map((rate) => rate[of])) / 1000).toFixed(0);
  return `${thousands('seen')} (${thousands('ofCore')})`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
