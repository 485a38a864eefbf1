/**
 * `liveupdate compat`: whether the new side of an update reads what the old one writes, before it
 * is made.
 */
import { judge, type Format, type Role, type Side, type Verdict } from './compat-formats.ts';
import { sideOf } from './compat-source.ts';
import { printable, printJson } from './output.ts';
import { UsageError } from './usage-error.ts';

const ROLES: Readonly<Record<Role, string>> = {
  'boot page': 'boot page',
  handover: 'handover',
  orchestrator: 'sessions',
  file: 'files',
  state: 'shared state',
  other: 'other memory',
};

/**
 * Prints the verdict. Returns the exit code: 0 where nothing is lost.
 *
 * @param from a word
 * @param to a word, or the words that start a program
 * @throws KernelError: as sideOf has them
 */
export async function runCompat(
  from: string,
  to: readonly string[],
  { json }: { readonly json: boolean },
): Promise<number> {
  const [old, next] = [await sideOf([from]), await sideOf(to)];
  if (next.kind === 'memory')
    throw new UsageError(`${next.what} is a handover: name what takes it over, a kernel or a program`);
  const verdict = judge(old, next);
  if (json) printJson({ from: old, to: next, ...verdict });
  else process.stdout.write(compatText(old, next, verdict));
  return verdict.fits ? 0 : 1;
}

/** The verdict for people. */
export function compatText(from: Side, to: Side, { rows, onlyRead, sentence }: Verdict): string {
  const lines = [`from  ${from.what}`, `to    ${to.what}`, ''];
  const table = [
    ...rows.map(({ role, name, isRead, matters, lost }) => [
      ROLES[role],
      name,
      isRead ? 'read' : matters ? `NOT READ: ${lost}` : 'not read, and not needed there',
    ]),
    ...onlyRead.map(({ role, name }: Format) => [ROLES[role], name, 'read, and not written']),
  ];
  const widths = [0, 1].map((column) => Math.max(0, ...table.map((row) => row[column].length)));
  for (const [role, name, what] of table)
    lines.push(`${role.padEnd(widths[0])}  ${name.padEnd(widths[1])}  ${what}`);
  if (table.length > 0) lines.push('');
  lines.push(sentence);
  for (const note of new Set([...from.notes, ...to.notes])) lines.push(`(${note})`);
  return `${lines.map(printable).join('\n')}\n`;
}
