/**
 * Packages are installed one by one, so a tree may have two copies of one: npm nests them as soon
 * as no version suits all who ask. Everything is published at 0.1.0 to a registry on this machine,
 * one package at a time a patch and a minor ahead, and the example of kexec runs in each mix. Two
 * majors apart it is refused, with a sentence that names both.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { command, HANGS } from './command.ts';
import { extract, withPromises } from './readme-examples.ts';
import { single, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { workspace, type Package } from './workspace.ts';

const KEXEC = '@liveupdate/kexec';
const SHMEM = '@liveupdate/shmem';
const ALL = '0.1.0';
const AHEAD = ['0.1.1', '0.2.0'];
const MAJOR = '2.0.0';

type Versions = Readonly<Partial<Record<string, readonly string[]>>>;

/** A package as the registry has it. */
interface Stored {
  readonly manifest: Record<string, unknown>;
  readonly tarball: Buffer;
}

export async function mixedVersions(): Promise<Report> {
  const folder = await pack();
  const packages = workspace();
  const kexec = packages.find(({ name }) => name === KEXEC);
  if (!kexec) throw new Error(`there is no ${KEXEC}`);
  const used = [kexec, ...kexec.below];
  using registry = await Registry.start(folder, used);
  const program = extract(readFileSync(join(kexec.dir, 'README.md'), 'utf8')).find(({ runs }) => runs);
  if (!program) throw new Error('the README of kexec has no example to run');
  const reports: Report[] = [];
  for (const { name } of used) {
    for (const version of AHEAD) {
      const cwd = await registry.install({ [name]: version });
      const ended = await command('node', ['example.ts'], { cwd: place(cwd, program.code), timeout: HANGS });
      reports.push(single(`${name} ${version}, all else ${ALL}`, withPromises(program.code, ended)));
    }
  }
  const cwd = await registry.install({ [SHMEM]: MAJOR });
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

/** A registry on this machine, for the packages of this workspace alone. */
class Registry implements Disposable {
  readonly #folder: string;
  readonly #packages: readonly Package[];
  readonly #stored = new Map<string, Stored>();
  readonly #server = createServer((request, response) => {
    this.#answer(decodeURIComponent(request.url ?? ''), response);
  });
  /** What is published: by the name of a package. */
  #versions: Versions = {};
  #installs = 0;

  private constructor(folder: string, packages: readonly Package[]) {
    this.#folder = folder;
    this.#packages = packages;
  }

  static async start(folder: string, packages: readonly Package[]): Promise<Registry> {
    const registry = new Registry(folder, packages);
    await new Promise<void>((resolve) => registry.#server.listen(0, '127.0.0.1', resolve));
    for (const each of packages)
      for (const version of [ALL, ...AHEAD, ...(each.name === SHMEM ? [MAJOR] : [])])
        registry.#stored.set(`${each.name}@${version}`, await registry.#stamp(each, version));
    return registry;
  }

  get #url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /**
   * Publishes everything at 0.1.0, and some packages at another version too; installs those two
   * that the example imports.
   */
  async install(ahead: Readonly<Record<string, string>>): Promise<string> {
    this.#versions = Object.fromEntries(
      this.#packages.map(({ name }) => [name, name in ahead ? [ALL, ahead[name]] : [ALL]]),
    );
    const cwd = join(this.#folder, 'mixed', String(this.#installs++));
    mkdirSync(cwd, { recursive: true });
    writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    writeFileSync(join(cwd, '.npmrc'), `@liveupdate:registry=${this.#url}\n`);
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

  #answer(url: string, response: { writeHead(status: number): { end(body?: string | Buffer): void } }): void {
    const [, name = '', file = ''] = /^\/(@liveupdate\/[^/]+)(?:\/-\/(.*))?$/.exec(url) ?? [];
    const versions = this.#versions[name];
    if (!versions) {
      response.writeHead(404).end();
      return;
    }
    if (file !== '') {
      const stored = this.#stored.get(`${name}@${basename(file, '.tgz')}`);
      if (stored) response.writeHead(200).end(stored.tarball);
      else response.writeHead(404).end();
      return;
    }
    const manifests = versions.map((version) => {
      const stored = this.#stored.get(`${name}@${version}`);
      const dist = { tarball: `${this.#url}/${name}/-/${version}.tgz` };
      return [version, { ...stored?.manifest, dist }] as const;
    });
    const body = { name, 'dist-tags': { latest: ALL }, versions: Object.fromEntries(manifests) };
    response.writeHead(200).end(JSON.stringify(body));
  }

  /** The tarball of a package as if it had this version, and asked for all others at 0.1.0. */
  async #stamp(each: Package, version: string): Promise<Stored> {
    const name = each.name.replace('@liveupdate/', '');
    const from = join(this.#folder, 'stamped', name, version);
    mkdirSync(from, { recursive: true });
    await must('tar', ['-xzf', tarball(this.#folder, each), '-C', from]);
    const file = join(from, 'package/package.json');
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    manifest.version = version;
    for (const field of ['dependencies', 'peerDependencies']) {
      const ranges = (manifest[field] ?? {}) as Record<string, string>;
      for (const other of Object.keys(ranges))
        if (other.startsWith('@liveupdate/')) ranges[other] = `^${ALL}`;
    }
    writeFileSync(file, JSON.stringify(manifest));
    const dist = join(from, 'package/dist');
    for (const script of readdirSync(dist).filter((path) => path.endsWith('.js'))) {
      const code = readFileSync(join(dist, script), 'utf8');
      writeFileSync(
        join(dist, script),
        code.replaceAll(JSON.stringify(each.version), JSON.stringify(version)),
      );
    }
    const to = join(this.#folder, 'stamped', name, `${version}.tgz`);
    await must('tar', ['-czf', to, '-C', from, 'package']);
    return { manifest, tarball: readFileSync(to) };
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

async function must(program: string, args: string[]): Promise<void> {
  const ended = await command(program, args);
  if (!ended.ok) throw new Error(`${program} failed:\n${ended.output}`);
}
