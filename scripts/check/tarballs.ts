/** The packages as tarballs, packed once for all checks that look at them as a user gets them. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from './command.ts';
import type { Package } from './workspace.ts';

let tarballs: Promise<string> | undefined;

/** Packs all packages, once; the folder of the tarballs, which ends with this process. */
export function pack(): Promise<string> {
  tarballs ??= (async () => {
    const folder = mkdtempSync(join(tmpdir(), 'liveupdate-pack-'));
    process.on('exit', () => {
      rmSync(folder, { recursive: true, force: true });
    });
    const filter = ['-r', '--filter', '@liveupdate/*'];
    const packed = await command('node', [
      'scripts/pnpm.cjs',
      ...filter,
      'pack',
      '--pack-destination',
      folder,
    ]);
    if (!packed.ok) throw new Error(`pnpm pack failed:\n${packed.output}`);
    return folder;
  })();
  return tarballs;
}

export const tarball = (folder: string, { name, version }: Package) =>
  join(folder, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);

/** Puts packages into the `node_modules` of a folder, as they are packed. */
export async function unpackInto(cwd: string, packages: readonly Package[]): Promise<void> {
  const folder = await pack();
  for (const each of packages) {
    const to = join(cwd, 'node_modules', each.name);
    mkdirSync(to, { recursive: true });
    const args = ['-xzf', tarball(folder, each), '-C', to, '--strip-components=1'];
    const unpacked = await command('tar', args);
    if (!unpacked.ok) throw new Error(`tar failed:\n${unpacked.output}`);
  }
}
