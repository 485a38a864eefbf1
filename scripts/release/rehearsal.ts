/**
 * A release that leaves nothing behind: the same command, in a copy of what Git has, to a registry
 * on this machine. It is interrupted once, and called again; then what it published is installed as
 * a user would.
 */

import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { command, HANGS, root, type Ended } from '../check/command.ts';
import { extract, withPromises } from '../check/readme-examples.ts';
import { Registry } from '../check/registry.ts';
import { Fault } from './fault.ts';
import { published, type Checks, type Manifest } from './steps.ts';

interface Options {
  checks: Checks;
  tag: string;
}

/** Who commits in the copy. */
const NOBODY = {
  GIT_AUTHOR_NAME: 'nobody',
  GIT_AUTHOR_EMAIL: 'nobody@localhost',
  GIT_COMMITTER_NAME: 'nobody',
  GIT_COMMITTER_EMAIL: 'nobody@localhost',
};

/** The package at which the registry refuses the first time. */
const INTERRUPTED = '@liveupdate/kexec';

/** @throws Fault: why a release would fail */
export async function rehearse({ checks, tag }: Options): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'liveupdate-release-'));
  const copy = join(folder, 'checkout');
  using registry = await Registry.start();
  try {
    copyTo(copy);
    writeFileSync(join(copy, '.npmrc'), registry.npmrc);
    for (const args of [
      ['init', '--quiet'],
      ['add', '--all'],
      ['commit', '--quiet', '--message', 'A copy'],
    ])
      must(`git ${args[0]}`, await command('git', args, { cwd: copy, env: NOBODY }));
    must('install', await command('node', ['scripts/bootstrap.cjs'], { cwd: copy }));

    registry.refuseOnce(INTERRUPTED);
    const run = (what: Checks) => ['scripts/release.ts', '--no-provenance', '--tag', tag, '--checks', what];
    const first = await command('node', run(checks), { cwd: copy, env: NOBODY });
    console.log(first.stdout.trimEnd());
    if (registry.willRefuse) throw new Fault(`it failed before it published: ${lastLine(first.output)}`);
    if (first.ok) throw new Fault('a release that was interrupted says that all is well');
    console.log(`release: interrupted at ${INTERRUPTED}, as a rehearsal is; once more`);
    if ((await shown(copy, run('none'))) !== 0) throw new Fault('the release failed: it says above why');
    if ((await shown(copy, run('none'))) === 0)
      throw new Fault('there was nothing to release, and it did not say so');

    const wanted = published(copy);
    checkPublished(registry, wanted);
    const tags = await command('git', ['tag'], { cwd: copy });
    const untagged = idsOf(wanted).filter((id) => !tags.stdout.split('\n').includes(id));
    if (untagged.length > 0) throw new Fault(`Git has no tag for ${untagged.join(', ')}`);
    await use(registry, join(folder, 'user'), copy, tag);
    console.log(`release: ${wanted.length} packages would be published; nothing was changed here`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What Git has, and what it would add: as it stands here. */
function copyTo(copy: string): void {
  const list = (...which: string[]): string[] => {
    const { status, stdout, stderr } = spawnSync('git', ['ls-files', '-z', ...which], {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: Infinity,
    });
    if (status !== 0) throw new Fault(`this is no checkout of Git: ${stderr}`);
    return stdout.split('\0').filter(Boolean);
  };
  const deleted = new Set(list('--deleted'));
  for (const path of new Set(list('--cached', '--others', '--exclude-standard'))) {
    if (deleted.has(path)) continue;
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    cpSync(join(root, path), join(copy, path), { verbatimSymlinks: true });
  }
}

/** Runs the command in the copy, with all that it says; the exit code. */
function shown(copy: string, args: string[]): Promise<unknown> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      cwd: copy,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...NOBODY },
    });
    child.on('error', resolve).on('close', resolve);
  });
}

const lastLine = (text: string) => text.trimEnd().split('\n').at(-1);

const idsOf = (manifests: Manifest[]) => manifests.map(({ name, version }) => `${name}@${version}`);

/** All of them, once, at their versions, with ranges that a stranger can resolve. */
function checkPublished(registry: Registry, wanted: Manifest[]): void {
  const ids = idsOf(wanted);
  if ([...registry.published].sort().join() !== [...ids].sort().join())
    throw new Fault(`published were ${registry.published.join(', ')}, and not ${ids.join(', ')}`);
  const versions = new Map(wanted.map(({ name, version }) => [name, version]));
  for (const id of ids) {
    const { dependencies, peerDependencies } = registry.manifest(id) as Manifest;
    for (const [name, range] of Object.entries({ ...dependencies, ...peerDependencies })) {
      const version = versions.get(name);
      if (version !== undefined && range !== `^${version}`)
        throw new Fault(`${id} asks for ${name} ${range}, and not for ^${version}`);
    }
  }
}

/** Installs the top packages by name in an empty folder, and uses them. */
async function use(registry: Registry, cwd: string, copy: string, tag: string): Promise<void> {
  console.log('release: install what was published');
  mkdirSync(cwd);
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  writeFileSync(join(cwd, '.npmrc'), registry.npmrc);
  const names = ['kexec', 'shmem', 'cli'].map((name) => `@liveupdate/${name}@${tag}`);
  const quick = ['--no-audit', '--no-fund', '--no-package-lock'];
  const env = { npm_config_cache: join(cwd, 'npm-cache') };
  must('npm install', await command('npm', ['install', ...quick, ...names], { cwd, env, timeout: HANGS }));
  const page = readFileSync(join(copy, 'packages/kexec/README.md'), 'utf8');
  const code = extract(page).find(({ runs }) => runs)?.code ?? '';
  writeFileSync(join(cwd, 'example.ts'), code);
  const example = await command('node', ['example.ts'], { cwd, timeout: HANGS });
  must('the example of kexec', withPromises(code, example));
  const program = join(cwd, 'node_modules/.bin/liveupdate');
  must('liveupdate --help', await command(program, ['--help'], { cwd, timeout: HANGS }));
}

function must(title: string, { ok, output }: Ended): void {
  if (!ok) throw new Fault(`${title} failed:\n${output}`);
}
