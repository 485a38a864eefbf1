/**
 * A release, rehearsed: versions, build, publishing with an interruption, tags, and an installation
 * of what was published. Its checks are these.
 */

import { command } from './command.ts';
import { single, skipped, type Report } from './report.ts';

export async function rehearsal(): Promise<Report> {
  const name = 'npm run release -- --dry-run';
  const git = await command('git', ['ls-files', '--error-unmatch', 'package.json']);
  if (!git.ok) return skipped(name, `Git does not list what is here: ${git.output.trim().split('\n')[0]}`);
  const ended = await command('node', ['scripts/release.ts', '--dry-run', '--checks', 'none']);
  const said = ended.stdout.trim().split('\n').at(-1) ?? '';
  return { ...single(name, ended), notes: [said] };
}
