/** The packages as a user gets them: packed, linted as tarballs, installed alone into an empty folder, imported. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { command } from './command.ts';
import { single, sum, type Report } from './report.ts';
import { workspace, type Package } from './workspace.ts';

const packages = workspace();
const libraries = packages.filter(({ bin }) => Object.keys(bin).length === 0);

let tarballs: Promise<string> | undefined;

/** Packs all packages, once; the folder of the tarballs. */
function pack(): Promise<string> {
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

const tarball = (folder: string, { name, version }: Package) =>
  join(folder, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);

export async function publint(): Promise<Report> {
  const folder = await pack();
  const reports: Report[] = [];
  for (const each of packages) {
    reports.push(single(each.name, await command('publint', [tarball(folder, each), '--strict'])));
  }
  return sum(reports);
}

/** Are the types wrong? Programs have none. */
export async function attw(): Promise<Report> {
  const folder = await pack();
  const reports: Report[] = [];
  for (const each of libraries) {
    const args = [tarball(folder, each), '--profile', 'esm-only', '--no-emoji'];
    reports.push(single(each.name, await command('attw', args)));
  }
  return sum(reports);
}

export async function install(): Promise<Report> {
  const folder = await pack();
  const reports: Report[] = [];
  for (const each of packages) reports.push(await installAlone(folder, each));
  for (const moduleResolution of ['node16', 'bundler'])
    reports.push(await resolveTypes(folder, moduleResolution));
  return sum(reports);
}

const home = (folder: string, { name }: Package) =>
  join(folder, 'installed', name.replace('@liveupdate/', ''));

/** With plain npm, from the tarballs of the package and of those below it, and nothing else of the workspace. */
async function installAlone(folder: string, each: Package): Promise<Report> {
  const cwd = home(folder, each);
  mkdirSync(cwd, { recursive: true });
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock'];
  const files = [each, ...each.below].map((other) => tarball(folder, other));
  const installed = await command('npm', ['install', ...quick, ...files], { cwd });
  if (!installed.ok) return single(`${each.name}: npm install`, installed);
  return libraries.includes(each) ? importIt(cwd, each) : runIt(cwd, each);
}

async function importIt(cwd: string, { name }: Package): Promise<Report> {
  const script = `console.log(Object.keys(await import('${name}')).join(' '))`;
  const ended = await command('node', ['--input-type=module', '--eval', script], { cwd });
  const names = ended.stdout.trim();
  if (names === '') ended.ok = false;
  return { ...single(`${name}: import`, ended), notes: [`${name}: ${names}`] };
}

async function runIt(cwd: string, { name, bin }: Package): Promise<Report> {
  const reports: Report[] = [];
  for (const program of Object.keys(bin)) {
    const ended = await command(join(cwd, 'node_modules/.bin', program), ['--help'], {
      cwd,
      timeout: 20_000,
    });
    reports.push({ ...single(`${name}: ${program} --help`, ended), notes: [`${name}: ${program} --help`] });
  }
  return sum(reports);
}

/** One program of TypeScript that imports every library from where it is installed, declarations checked too. */
async function resolveTypes(folder: string, moduleResolution: string): Promise<Report> {
  const files = libraries.map((each) => {
    const file = join(home(folder, each), 'use.ts');
    writeFileSync(
      file,
      `import * as library from '${each.name}';\n\nexport const names = Object.keys(library);\n`,
    );
    return file;
  });
  const config = join(folder, `tsconfig.${moduleResolution}.json`);
  const compilerOptions = {
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    module: moduleResolution === 'bundler' ? 'preserve' : 'node16',
    moduleResolution,
    types: [],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
  };
  writeFileSync(config, JSON.stringify({ compilerOptions, files }));
  return single(`types under moduleResolution ${moduleResolution}`, await command('tsc', ['-p', config]));
}
