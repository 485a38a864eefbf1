/**
 * What `changeset version` would make of this workspace, without changing it: the manifests and
 * changesets are copied to a folder that ends with the scope, and the real command runs there.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from '../check/command.ts';
import { workspace } from '../check/workspace.ts';

export type Bump = 'patch' | 'minor' | 'major';

interface Manifest {
  name: string;
  version: string;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

const packages = workspace();

export class WorkspaceCopy implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), 'liveupdate-versions-'));

  constructor() {
    const files = ['package.json', 'pnpm-workspace.yaml', 'pnpm-lock.yaml'];
    for (const file of [...files, ...packages.map(({ dir }) => `${dir}/package.json`)]) this.#copy(file);
    this.#copy('.changeset');
  }

  #copy(path: string): void {
    const to = join(this.#dir, path);
    mkdirSync(dirname(to), { recursive: true });
    cpSync(join(root, path), to, { recursive: true });
  }

  /** As if all packages were released with this version, and nothing had changed since. */
  releaseAll(version: string): void {
    for (const { dir } of packages) {
      const file = join(this.#dir, dir, 'package.json');
      const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest;
      writeFileSync(file, JSON.stringify({ ...manifest, version }));
    }
    for (const name of this.#pending()) rmSync(join(this.#dir, '.changeset', name));
  }

  addChangeset(bumps: Record<string, Bump>): void {
    const lines = Object.entries(bumps).map(([name, bump]) => `'${name}': ${bump}`);
    const text = `---\n${lines.join('\n')}\n---\n\nA sample.\n`;
    writeFileSync(join(this.#dir, '.changeset/sample.md'), text);
  }

  /** The changesets that wait for a release. */
  #pending(): string[] {
    return readdirSync(join(this.#dir, '.changeset')).filter((name) => name.endsWith('.md'));
  }

  /** Runs `changeset version`, which takes it for a mistake where no changeset waits. */
  version(): void {
    if (this.#pending().length === 0) return;
    const program = join(root, 'node_modules/.bin/changeset');
    const { status, stdout, stderr } = spawnSync(program, ['version'], { cwd: this.#dir, encoding: 'utf8' });
    if (status !== 0) throw new Error(`changeset version failed:\n${stdout}${stderr}`);
  }

  /** The manifests, by package. */
  manifests(): Map<string, Manifest> {
    const read = ({ dir }: { dir: string }) =>
      JSON.parse(readFileSync(join(this.#dir, dir, 'package.json'), 'utf8')) as Manifest;
    return new Map(packages.map((each) => [each.name, read(each)]));
  }

  /** The versions, by package. */
  versions(): Record<string, string> {
    return Object.fromEntries([...this.manifests()].map(([name, { version }]) => [name, version]));
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
