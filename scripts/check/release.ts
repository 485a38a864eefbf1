/**
 * A release, rehearsed: versions, build, publishing with an interruption, tags, and an installation
 * of what was published. Its checks are these.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { command, root } from './command.ts';
import { single, skipped, type Report } from './report.ts';

export async function rehearsal(): Promise<Report> {
  const name = 'npm run release -- --dry-run';
  if (!existsSync(join(root, '.git'))) return skipped(name, 'this is no checkout of Git: clone it');
  const ended = await command('node', ['scripts/release.ts', '--dry-run', '--checks', 'none']);
  const said = ended.stdout.trim().split('\n').at(-1) ?? '';
  return { ...single(name, ended), notes: [said] };
}
