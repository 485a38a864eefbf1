/**
 * kexec and what is below it, installed by the package managers that are in use, from a registry:
 * the installation succeeds without an install script being allowed, and the example of kexec runs,
 * imported and required. What npm does is in mixed-versions.ts.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { transform } from 'esbuild';
import { command, HANGS, type Ended } from './command.ts';
import { obtain, obtainBun, type Obtained } from './programs.ts';
import { extract, withPromises } from './readme-examples.ts';
import { Registry, type Manifest } from './registry.ts';
import { single, skipped, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { workspace } from './workspace.ts';

const NAMES = ['@liveupdate/kexec', '@liveupdate/shmem', '@liveupdate/memfd-handler'];

interface Manager {
  title: string;
  program: Promise<Obtained>;
  /** The program is JavaScript, for Node.js. */
  isScript: boolean;
  add: string[];
  /** Files that configure it, by name. */
  files?: Record<string, string>;
  env?: Record<string, string>;
  /** Runs Node.js in the installed tree. Default: node itself. */
  node?: string[];
}

export async function packageManagers(): Promise<Report> {
  const folder = await pack();
  const kexec = workspace().find(({ name }) => name === NAMES[0]);
  if (!kexec) throw new Error(`there is no ${NAMES[0]}`);
  using registry = await Registry.start();
  for (const each of [kexec, ...kexec.below]) {
    const file = tarball(folder, each);
    const packed = await command('tar', ['-xzOf', file, 'package/package.json']);
    registry.add(JSON.parse(packed.stdout) as Manifest, readFileSync(file));
  }
  const code = extract(readFileSync(join(kexec.dir, 'README.md'), 'utf8')).find(({ runs }) => runs)?.code;
  if (code === undefined) throw new Error('the README of kexec has no example to run');
  const reports: Report[] = [];
  for (const manager of await managers(registry, folder))
    reports.push(await installWith(manager, registry, join(folder, 'managers'), code));
  return sum(reports);
}

async function managers(registry: Registry, folder: string): Promise<Manager[]> {
  const cache = (name: string) => join(folder, 'caches', name);
  const npm = (await command('npm', ['config', 'get', 'registry'])).stdout.trim();
  return [
    {
      title: 'pnpm',
      program: obtain('pnpm', '12.21.0', 'bin/pnpm.mjs'),
      isScript: true,
      add: ['add', '--store-dir', cache('pnpm')],
    },
    {
      title: 'yarn 1',
      program: obtain('yarn', '1.22.22', 'bin/yarn.js'),
      isScript: true,
      add: ['add', '--non-interactive', '--cache-folder', cache('yarn')],
    },
    {
      title: "yarn 4, Plug'n'Play",
      program: obtain('@yarnpkg/cli-dist', '4.18.1', 'bin/yarn.js'),
      isScript: true,
      add: ['add'],
      node: ['node'],
      env: { YARN_GLOBAL_FOLDER: cache('yarn-4') },
      files: {
        'yarn.lock': '',
        '.yarnrc.yml': [
          'nodeLinker: pnp',
          'enableGlobalCache: false',
          'enableTelemetry: false',
          'enableImmutableInstalls: false',
          'enableScripts: false',
          'unsafeHttpWhitelist: ["127.0.0.1"]',
          `npmRegistryServer: ${JSON.stringify(npm)}`,
          // What is published here is seconds old.
          `npmScopes: { liveupdate: { npmRegistryServer: "${registry.url}", npmMinimalAgeGate: 0 } }`,
        ].join('\n'),
      },
    },
    {
      title: 'bun',
      program: obtainBun('1.4.5'),
      isScript: false,
      add: ['add'],
      env: { BUN_INSTALL_CACHE_DIR: cache('bun') },
    },
  ];
}

async function installWith(
  { title, program, isScript, add, files = {}, env = {}, node }: Manager,
  registry: Registry,
  parent: string,
  code: string,
): Promise<Report> {
  const obtained = await program;
  if ('why' in obtained) return skipped(`everything with ${title}`, obtained.why);
  const cwd = join(parent, title.replaceAll(/\W+/g, '-'));
  mkdirSync(cwd, { recursive: true });
  const { code: plain } = await transform(code, { loader: 'ts', format: 'esm', target: 'node22' });
  const all = {
    'package.json': JSON.stringify({ name: 'service', private: true, type: 'module' }),
    '.npmrc': registry.npmrc,
    'example.mjs': plain,
    // The same from CommonJS, which has no await outside of functions.
    'example.cjs': `(async () => {\n${asCommonJs(plain)}\n})();\n`,
    ...files,
  };
  for (const [name, text] of Object.entries(all)) writeFileSync(join(cwd, name), text);
  const manager = (args: string[]): Promise<Ended> =>
    isScript
      ? command('node', [obtained.file, ...args], { cwd, env, timeout: HANGS })
      : command(obtained.file, args, { cwd, env, timeout: HANGS });
  const installed = await manager([...add, ...NAMES]);
  if (!installed.ok) return single(`${title}: add`, installed);
  const reports = [single(`${title}: add, and nothing to allow`, installed)];
  for (const script of ['example.mjs', 'example.cjs']) {
    const ended = node
      ? await manager([...node, script])
      : await command('node', [script], { cwd, timeout: HANGS });
    reports.push(single(`${title}: ${script}`, withPromises(code, ended)));
  }
  return sum(reports);
}

const asCommonJs = (code: string) =>
  code
    .replaceAll(/^import (\{[^}]*\}) from (".*?"|'.*?');$/gm, 'const $1 = require($2);')
    .replaceAll(/^export \{\s*\};$/gm, '');
