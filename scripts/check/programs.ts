/**
 * Other runtimes and package managers, as packages of the npm registry: each in a folder of its own
 * under node_modules/.cache, where the next run finds it.
 */

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, HANGS, root } from './command.ts';

const CACHE = join(root, 'node_modules/.cache/liveupdate-programs');

/** A program, or why it is not to be had here. */
export type Obtained = { readonly file: string } | { readonly why: string };

/**
 * Installs a version of a package, without its install scripts, unless it is there.
 *
 * @param file the program, relative to the package
 */
export async function obtain(name: string, version: string, file: string): Promise<Obtained> {
  const home = join(CACHE, `${name.replaceAll(/[@/]/g, '-').replace(/^-/, '')}-${version}`);
  const program = join(home, 'node_modules', name, file);
  if (existsSync(program)) return { file: program };
  mkdirSync(CACHE, { recursive: true });
  const cwd = mkdtempSync(`${home}.`);
  try {
    writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true }));
    const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock', '--ignore-scripts'];
    // Without a network it is to fail at once: npm would try for minutes.
    const impatient = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=2000'];
    const args = ['install', ...quick, ...impatient, `${name}@${version}`];
    const installed = await command('npm', args, { cwd, timeout: HANGS });
    if (!installed.ok) return { why: `npm cannot install ${name}@${version}: ${reason(installed.output)}` };
    rmSync(home, { recursive: true, force: true });
    renameSync(cwd, home);
    return { file: program };
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}

/** A Node.js of this version. */
export const obtainNode = (version: string) => obtain(`node-linux-${process.arch}`, version, 'bin/node');

export const obtainDeno = (version: string) => obtain(`@deno/linux-${process.arch}-glibc`, version, 'deno');

export const obtainBun = (version: string) =>
  obtain(`@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}`, version, 'bin/bun');

/** What npm says first of a failure, in one line. */
const reason = (output: string) =>
  [...output.matchAll(/^npm error (.*)$/gm)]
    .slice(0, 3)
    .map(([, line]) => line)
    .join(', ') || output.trim().split('\n')[0];
