/** The steps of a release. */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, root } from '../check/command.ts';
import { Fault } from './fault.ts';

export interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

export type Checks = 'all' | 'quick' | 'none';

/** The packages that are published: their manifests, as they stand in a checkout. */
export function published(checkout = root): Manifest[] {
  return readdirSync(join(checkout, 'packages'))
    .map((name) => join(checkout, 'packages', name, 'package.json'))
    .filter((file) => existsSync(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')) as Manifest)
    .filter((manifest) => manifest.private !== true);
}

/** Changesets that wait for a release. */
export function waiting(): string[] {
  return readdirSync(join(root, '.changeset')).filter((name) => name.endsWith('.md'));
}

/** Turns the changesets that wait into versions and change logs; tells what moved. */
export async function makeVersions(): Promise<void> {
  const before = new Map(published().map(({ name, version }) => [name, version]));
  await step('versions', 'node', ['scripts/pnpm.cjs', 'exec', 'changeset', 'version']);
  if (waiting().length > 0) throw new Fault('changeset version left changesets: look at them');
  for (const { name, version } of published())
    console.log(`  ${name.padEnd(30)}${before.get(name) ?? 'new'} -> ${version}`);
}

export async function build(): Promise<void> {
  await step('build', 'npm', ['run', '-s', 'build', '--', '--output-logs=errors-only']);
}

/** All that must hold before anything is published: it says itself what does not. */
export async function check(checks: Checks): Promise<void> {
  if (checks === 'none') {
    console.log('release: checks are left out (--checks none)');
    return;
  }
  console.log('release: checks');
  const args = ['test', '--', ...(checks === 'quick' ? ['--quick'] : [])];
  const code = await new Promise((resolve) => {
    spawn('npm', args, { cwd: root, stdio: 'inherit' }).on('error', resolve).on('close', resolve);
  });
  if (code !== 0) throw new Fault('npm test failed: nothing was published');
}

/** Publishes what the registry does not have, each package after those that it needs. */
export async function publish(args: string[]): Promise<void> {
  const all = ['-r', '--filter', './packages/*', 'publish', '--no-git-checks', '--access', 'public'];
  await step('publish', 'node', ['scripts/pnpm.cjs', ...all, ...args]);
}

/** Runs a program of a step, and gives what it wrote; a Fault with all that it said if it fails. */
export async function step(title: string, program: string, args: string[]): Promise<string> {
  console.log(`release: ${title}`);
  return quietly(title, program, args);
}

/** The same, and nothing is said unless it fails. */
export async function quietly(title: string, program: string, args: string[]): Promise<string> {
  const { ok, output, stdout } = await command(program, args);
  if (ok) return stdout.trim();
  throw new Fault(`${title} failed (${[program, ...args].join(' ')}), nothing after it was done:\n${output}`);
}
