/** The packages of the workspace. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './command.ts';

export interface Package {
  name: string;
  version: string;
  /** Relative to the root. */
  dir: string;
  /** Packages of the workspace below this one, at any depth. */
  below: Package[];
  /** Programs by name; a package without any is a library. */
  bin: Record<string, string>;
}

interface Manifest {
  name: string;
  version: string;
  bin?: Record<string, string>;
  dependencies?: Record<string, string>;
}

export function workspace(): Package[] {
  const manifests = new Map<string, Manifest & { dir: string }>();
  for (const group of ['packages', 'apps']) {
    for (const name of readdirSync(join(root, group))) {
      const file = join(root, group, name, 'package.json');
      if (!existsSync(file)) continue;
      const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest;
      manifests.set(manifest.name, { ...manifest, dir: `${group}/${name}` });
    }
  }
  const packages = new Map<string, Package>();
  const find = (name: string): Package | undefined => {
    const manifest = manifests.get(name);
    if (!manifest) return undefined; // from outside the workspace
    let found = packages.get(name);
    if (!found) {
      const direct = Object.keys(manifest.dependencies ?? {}).flatMap((other) => find(other) ?? []);
      const below = [...new Set(direct.flatMap((other) => [other, ...other.below]))];
      found = { name, version: manifest.version, dir: manifest.dir, below, bin: manifest.bin ?? {} };
      packages.set(name, found);
    }
    return found;
  };
  return [...manifests.keys()].flatMap((name) => find(name) ?? []);
}
