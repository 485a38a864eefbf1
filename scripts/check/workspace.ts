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
  /** Never published. */
  private: boolean;
}

export const isLibrary = ({ bin }: Package) => Object.keys(bin).length === 0;

/** Sources that are checked without the types of Node.js. */
const core = (() => {
  const text = readFileSync(join(root, 'tsconfig.core.json'), 'utf8').replaceAll(/^\s*\/\/.*$/gm, '');
  return (JSON.parse(text) as { include: string[] }).include;
})();

/** Whether a package runs in a browser. */
export const isCore = ({ dir }: Package) => core.includes(`${dir}/src`);

interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  bin?: Record<string, string>;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

export function workspace(): Package[] {
  const manifests = new Map<string, Manifest & { dir: string }>();
  for (const group of ['packages', 'apps']) {
    for (const name of readdirSync(join(root, group))) {
      const file = join(root, group, name, 'package.json');
      if (!existsSync(file)) continue;
      const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest;
      if (manifest.private && !manifest.bin) continue; // for checks alone: nobody installs it
      manifests.set(manifest.name, { ...manifest, dir: `${group}/${name}` });
    }
  }
  const packages = new Map<string, Package>();
  const find = (name: string): Package | undefined => {
    const manifest = manifests.get(name);
    if (!manifest) return undefined; // from outside the workspace
    let found = packages.get(name);
    if (!found) {
      const { version, dir, bin = {}, dependencies, peerDependencies } = manifest;
      const direct = Object.keys({ ...dependencies, ...peerDependencies }).flatMap(
        (other) => find(other) ?? [],
      );
      const below = [...new Set(direct.flatMap((other) => [other, ...other.below]))];
      found = { name, version, dir, below, bin, private: manifest.private ?? false };
      packages.set(name, found);
    }
    return found;
  };
  return [...manifests.keys()].flatMap((name) => find(name) ?? []);
}
