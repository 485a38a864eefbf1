/**
 * Each package installed alone, as a user does it: with plain npm into an empty folder, from its
 * tarball and the tarballs of the packages that it declares, and nothing else of the workspace.
 * There its README's example runs and prints what it says, and its types resolve.
 */

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, HANGS, root, type Ended } from './command.ts';
import { extract, withPromises } from './readme-examples.ts';
import { single, skipped, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { isCore, isLibrary, workspace, type Package } from './workspace.ts';

/** What each program is asked for beside `--help`, and what its answer must have in it. */
const USES: Partial<Record<string, { args: string[]; says: string }>> = {
  liveupdate: {
    args: ['inspect', '--json', join(root, 'fixtures/linux-7.3/handover.elf.gz')],
    says: '"count": 906',
  },
  'liveupdate-bench': {
    args: ['small', 'replace', '--size', '64MiB', '--repeat', '1', '--no-profile'],
    says: 'blackout, 4 KiB folios',
  },
};

/** Those that --quick installs: they need almost all others. */
const QUICK = ['@liveupdate/memfd-handler', '@liveupdate/kexec', '@liveupdate/cli'];

/** Where a package is installed. */
export const home = (folder: string, { name }: Package) =>
  join(folder, 'installed', name.replace('@liveupdate/', ''));

/** The module of a package's example where it is installed. */
const example = (folder: string, each: Package) => join(home(folder, each), 'example.ts');

export function install(): Promise<Report> {
  return installEach(workspace(), ['node16', 'bundler']);
}

/** A package of the core, one for Node.js and a program. */
export async function installSome(): Promise<Report> {
  const packages = workspace();
  const some = packages.filter(({ name }) => QUICK.includes(name));
  const others = packages.filter((each) => !some.includes(each)).map(({ name }) => name);
  const reason = '--quick leaves them out: each is installed into a folder of its own';
  return sum([await installEach(some, ['node16']), skipped(others.join(', '), reason)]);
}

async function installEach(packages: Package[], resolutions: string[]): Promise<Report> {
  const folder = await pack();
  const reports: Report[] = [];
  for (const each of packages) reports.push(await installAlone(folder, each));
  for (const moduleResolution of resolutions)
    reports.push(await resolveTypes(folder, packages.filter(isLibrary), moduleResolution));
  return sum(reports);
}

async function installAlone(folder: string, each: Package): Promise<Report> {
  const cwd = home(folder, each);
  mkdirSync(cwd, { recursive: true });
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock'];
  const files = [each, ...each.below].map((other) => tarball(folder, other));
  const installed = await command('npm', ['install', ...quick, ...files], { cwd });
  if (!installed.ok) return single(`${each.name}: npm install`, installed);
  const own = [checkRanges(cwd, each), checkWeight(cwd, each)];
  return sum([...own, isLibrary(each) ? await runExample(folder, each) : await runPrograms(cwd, each)]);
}

/**
 * A published package names others of the workspace by a caret range: what semver calls compatible,
 * and nothing else.
 */
function checkRanges(cwd: string, { name, below }: Package): Report {
  const file = join(cwd, 'node_modules', name, 'package.json');
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(file, 'utf8')) as {
    dependencies?: Record<string, string>;
    peerDependencies?: Record<string, string>;
  };
  const ranges = { ...dependencies, ...peerDependencies };
  const wrong = below.filter((other) => other.name in ranges && ranges[other.name] !== `^${other.version}`);
  const output = wrong
    .map((other) => `${other.name}: ${ranges[other.name]}, not ^${other.version}`)
    .join('\n');
  return single(`${name}: ranges`, { ok: wrong.length === 0, output });
}

/** Bytes on disk, at most, of a package with all that it needs: of the core, and of the others. */
const WEIGHTS = { core: 1.35 * 2 ** 20, other: 6 * 2 ** 20 };

function checkWeight(cwd: string, each: Package): Report {
  const files = readdirSync(join(cwd, 'node_modules'), { recursive: true, withFileTypes: true });
  const bytes = files
    .filter((file) => file.isFile())
    .reduce((total, file) => total + statSync(join(file.parentPath, file.name)).size, 0);
  const most = each.private ? Infinity : [each, ...each.below].every(isCore) ? WEIGHTS.core : WEIGHTS.other;
  const mib = (size: number) => `${(size / 2 ** 20).toFixed(2)} MiB`;
  const output = `${mib(bytes)} with all that it needs, at most ${mib(most)}: look at what was added`;
  const report = single(`${each.name}: weight`, { ok: bytes <= most, output });
  return { ...report, notes: [`${each.name}: ${mib(bytes)} with all that it needs`] };
}

/** The first program of the installed README. */
async function runExample(folder: string, each: Package): Promise<Report> {
  const cwd = home(folder, each);
  const page = readFileSync(join(cwd, 'node_modules', each.name, 'README.md'), 'utf8');
  const program = extract(page).find(({ runs }) => runs);
  const name = `${each.name}: the example of its README`;
  if (!program) return single(name, { ok: false, output: 'the README has no example to run' });
  const file = example(folder, each);
  writeFileSync(file, program.code);
  const ended = await command('node', ['--disable-warning=ExperimentalWarning', file], {
    cwd,
    timeout: HANGS,
  });
  const said = ended.stdout.trim().split('\n').at(-1) ?? '';
  return { ...single(name, withPromises(program.code, ended)), notes: [`${each.name}: ${said}`] };
}

async function runPrograms(cwd: string, { name, bin }: Package): Promise<Report> {
  const reports: Report[] = [];
  for (const program of Object.keys(bin)) {
    const use = USES[program];
    for (const { args, says } of [{ args: ['--help'], says: 'Usage:' }, ...(use ? [use] : [])]) {
      const ended = await command(join(cwd, 'node_modules/.bin', program), args, { cwd, timeout: HANGS });
      const line = `${program} ${args.join(' ')}`;
      reports.push({ ...single(`${name}: ${line}`, saying(says, ended)), notes: [`${name}: ${line}`] });
    }
  }
  return sum(reports);
}

/** A program that did not say it has failed. */
function saying(text: string, ended: Ended): Ended {
  if (ended.stdout.includes(text)) return ended;
  return { ...ended, ok: false, output: `${ended.output}\nthe output has no ${text} in it` };
}

/**
 * Two programs of TypeScript, with all declarations checked: one imports the core packages from
 * where each is installed, and has no types but theirs; the other imports all libraries and has
 * their examples, as a program for Node.js.
 */
async function resolveTypes(folder: string, libraries: Package[], moduleResolution: string): Promise<Report> {
  const importing = (each: Package) => {
    const file = join(home(folder, each), 'use.ts');
    const code = `import * as library from '${each.name}';\n\nexport const names = Object.keys(library);\n`;
    writeFileSync(file, code);
    return file;
  };
  const core = libraries.filter(isCore).map(importing);
  const all = libraries.flatMap((each) => [importing(each), example(folder, each)]);
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
  const node = { ...compilerOptions, types: ['node'], typeRoots: [join(root, 'node_modules/@types')] };
  return sum([
    await compile(
      `types of the core packages under moduleResolution ${moduleResolution}`,
      core,
      compilerOptions,
    ),
    await compile(`types of all, and of the examples, under moduleResolution ${moduleResolution}`, all, node),
  ]);

  async function compile(name: string, files: string[], options: object): Promise<Report> {
    const config = join(folder, 'tsconfig.json');
    writeFileSync(config, JSON.stringify({ compilerOptions: options, files }));
    return single(name, await command('tsc', ['-p', config]));
  }
}
