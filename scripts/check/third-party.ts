/**
 * A package that others would write: outside of the workspace, installed from the tarballs of ours,
 * its types and its tests.
 */

import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command, HANGS, root, type Ended } from './command.ts';
import { single, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { workspace } from './workspace.ts';

const EXAMPLE = join(root, 'examples/third-party-handler');

export async function thirdParty(): Promise<Report> {
  const cwd = mkdtempSync(join(tmpdir(), 'liveupdate-third-party-'));
  try {
    cpSync(EXAMPLE, cwd, { recursive: true });
    const installed = await installHere(cwd);
    if (!installed.ok) return single('npm install', installed);
    const types = ['-p', cwd, '--typeRoots', join(root, 'node_modules/@types')];
    const tested = await command('npm', ['test'], { cwd, timeout: HANGS });
    return {
      ...sum([single('its types', await command('tsc', types)), single('its tests', tested)]),
      notes: [`npm test there: ${countOf(tested)}`],
    };
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}

/**
 * What its package.json names of ours, and what stands below that; from the registry only what
 * those want.
 */
async function installHere(cwd: string): Promise<Ended> {
  const folder = await pack();
  const manifest = JSON.parse(readFileSync(join(cwd, 'package.json'), 'utf8')) as Record<string, object>;
  const named = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies });
  const packages = workspace();
  const direct = packages.filter(({ name }) => named.includes(name));
  const all = new Set(direct.flatMap((each) => [each, ...each.below]));
  const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock'];
  return command('npm', ['install', ...quick, ...[...all].map((each) => tarball(folder, each))], { cwd });
}

/** `31 tests passed, 0 failed`, as node:test counts them. */
function countOf({ output }: Ended): string {
  const count = (what: string) => new RegExp(`^\\S+ ${what} (\\d+)$`, 'm').exec(output)?.[1] ?? '?';
  return `${count('pass')} tests passed, ${count('fail')} failed`;
}
