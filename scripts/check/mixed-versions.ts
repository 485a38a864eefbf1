/**
 * Packages are installed one by one, so a tree may have two copies of one: npm nests them as soon
 * as no version suits all who ask. Everything is published at 0.1.0 to a registry on this machine,
 * one package at a time a patch and a minor ahead, and the example of kexec runs in each mix. Two
 * majors apart it is refused, with a sentence that names both.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, HANGS } from './command.ts';
import { extract, withPromises } from './readme-examples.ts';
import { Registry, type Manifest } from './registry.ts';
import { single, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { workspace, type Package } from './workspace.ts';

const KEXEC = '@liveupdate/kexec';
const SHMEM = '@liveupdate/shmem';
const ALL = '0.1.0';
const AHEAD = ['0.1.1', '0.2.0'];
const MAJOR = '2.0.0';

export async function mixedVersions(): Promise<Report> {
  const folder = await pack();
  const packages = workspace();
  const kexec = packages.find(({ name }) => name === KEXEC);
  if (!kexec) throw new Error(`there is no ${KEXEC}`);
  const used = [kexec, ...kexec.below];
  using trees = await Trees.make(folder, used);
  const program = extract(readFileSync(join(kexec.dir, 'README.md'), 'utf8')).find(({ runs }) => runs);
  if (!program) throw new Error('the README of kexec has no example to run');
  const reports: Report[] = [];
  for (const { name } of used) {
    for (const version of AHEAD) {
      const cwd = await trees.install({ [name]: version });
      const ended = await command('node', ['example.ts'], { cwd: place(cwd, program.code), timeout: HANGS });
      reports.push(single(`${name} ${version}, all else ${ALL}`, withPromises(program.code, ended)));
    }
  }
  const cwd = await trees.install({ [SHMEM]: MAJOR });
  const ended = await command('node', ['example.ts'], { cwd: place(cwd, STRANGER), timeout: HANGS });
  reports.push(
    single(`${SHMEM} ${MAJOR}, all else ${ALL}: refused, with both versions and places`, {
      ok: ended.ok && REFUSALS.every((refusal) => refusal.test(ended.stdout)),
      output: ended.output,
    }),
  );
  return sum(reports);
}

/** Files and classes of one major, in a machine of another. */
const STRANGER = `
import { Machine } from '${KEXEC}';
import { Shmem, ShmemFile } from '${SHMEM}';

const name = 'stranger-' + process.pid;
const tell = (error) => console.log(String(error));
const first = await Machine.open({ name, size: '16MiB' });
const { luo, shmem, pages } = first.kernel;
const session = luo.createSession('s');
await session.preserve(new Shmem({ pages }).memfdCreate('theirs'), 1).catch(tell);
await session.preserve(shmem.memfdCreate('ours'), 1);
await first.handOver();
const next = await Machine.open({ name });
await next.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile).catch(tell);
next.remove();
`;
/** What it is told. */
const REFUSALS = [
  /EINVAL: this ShmemFile is of @liveupdate\/shmem 2\.0\.0 \(file:.*, and here is @liveupdate\/shmem 0\.1\.0 \(file:/,
  /EINVAL: this ShmemFile is of @liveupdate\/shmem 0\.1\.0 \(file:.*, and here is @liveupdate\/shmem 2\.0\.0 \(file:/,
];

function place(cwd: string, code: string): string {
  writeFileSync(join(cwd, 'example.ts'), code);
  return cwd;
}

/** All versions of the packages, and the trees that are installed of some of them. */
class Trees implements Disposable {
  readonly #registry: Registry;
  readonly #folder: string;
  readonly #packages: readonly Package[];
  #installs = 0;

  private constructor(registry: Registry, folder: string, packages: readonly Package[]) {
    this.#registry = registry;
    this.#folder = folder;
    this.#packages = packages;
  }

  static async make(folder: string, packages: readonly Package[]): Promise<Trees> {
    const registry = await Registry.start();
    for (const each of packages) {
      for (const version of [ALL, ...AHEAD, ...(each.name === SHMEM ? [MAJOR] : [])]) {
        const { manifest, file } = await stamp(folder, each, version);
        registry.add(manifest, readFileSync(file));
      }
    }
    return new Trees(registry, folder, packages);
  }

  /**
   * Publishes everything at 0.1.0, and some packages at another version too; installs those two
   * that the example imports.
   */
  async install(ahead: Readonly<Record<string, string>>): Promise<string> {
    this.#registry.show(
      Object.fromEntries(
        this.#packages.map(({ name }) => [name, name in ahead ? [ALL, ahead[name]] : [ALL]]),
      ),
    );
    const cwd = join(this.#folder, 'mixed', String(this.#installs++));
    mkdirSync(cwd, { recursive: true });
    writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    writeFileSync(join(cwd, '.npmrc'), this.#registry.npmrc);
    const wanted = { [KEXEC]: ALL, [SHMEM]: ALL, ...ahead };
    const names = Object.entries(wanted).map(([name, version]) => `${name}@${version}`);
    // A cache for this registry, which is another one in each run. What is published changes from
    // tree to tree: nothing is taken from the cache unasked.
    const own = await command(
      'npm',
      ['install', '--prefer-online', '--no-audit', '--no-fund', '--no-package-lock', ...names],
      { cwd, env: { npm_config_cache: join(this.#folder, 'npm-cache') }, timeout: HANGS },
    );
    if (!own.ok) throw new Error(`npm install failed:\n${own.output}`);
    return cwd;
  }

  [Symbol.dispose](): void {
    this.#registry[Symbol.dispose]();
  }
}

/** The tarball of a package as if it had this version, and asked for all others at 0.1.0. */
async function stamp(
  folder: string,
  each: Package,
  version: string,
): Promise<{ manifest: Manifest; file: string }> {
  const name = each.name.replace('@liveupdate/', '');
  const from = join(folder, 'stamped', name, version);
  mkdirSync(from, { recursive: true });
  await must('tar', ['-xzf', tarball(folder, each), '-C', from]);
  const path = join(from, 'package/package.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  manifest.version = version;
  for (const field of ['dependencies', 'peerDependencies']) {
    const ranges = (manifest[field] ?? {}) as Record<string, string>;
    for (const other of Object.keys(ranges)) if (other.startsWith('@liveupdate/')) ranges[other] = `^${ALL}`;
  }
  writeFileSync(path, JSON.stringify(manifest));
  const dist = join(from, 'package/dist');
  for (const script of readdirSync(dist).filter((path) => path.endsWith('.js'))) {
    const code = readFileSync(join(dist, script), 'utf8');
    writeFileSync(join(dist, script), code.replaceAll(JSON.stringify(each.version), JSON.stringify(version)));
  }
  const file = join(folder, 'stamped', name, `${version}.tgz`);
  await must('tar', ['-czf', file, '-C', from, 'package']);
  return { manifest: manifest as unknown as Manifest, file };
}

async function must(program: string, args: string[]): Promise<void> {
  const ended = await command(program, args);
  if (!ended.ok) throw new Error(`${program} failed:\n${ended.output}`);
}
