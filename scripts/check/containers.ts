/**
 * What docs/deploy.md says of Docker and of Kubernetes, done in containers as it stands there: the
 * Dockerfile and the commands of the page, on the service of the front page, installed from our
 * tarballs.
 */

import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { BASE, makeBase } from './base-image.ts';
import { command, HANGS, root, type Ended } from './command.ts';
import { Docker } from './docker.ts';
import { podsOf, runPod, typesOfPods } from './pods.ts';
import { extract } from './readme-examples.ts';
import { Registry, type Manifest } from './registry.ts';
import { single, skipped, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { workspace } from './workspace.ts';

/** Milliseconds for a service to answer. */
const PATIENCE = 150_000;
const CLIENTS = 8;
/** What Docker calls a process that was ended by SIGKILL. */
const KILLED = 137;

/** A claim of the page, and what proves it. @throws Error it does not hold: why */
type Claim = readonly [claim: string, proof: (at: Place) => Promise<unknown>];

const DOCKER: readonly Claim[] = [
  ['64 MiB in /dev/shm do not hold a map of 64 MiB: ENOSPC', refusesSmallShm],
  ['PID 1 upgrades under load by docker cp and docker exec: same memory, no request fails', upgrades],
  ['by SIGUSR2; a bad version is exit code 1, and the old one serves; a death', goesOn],
  ['docker stop ends it in time, with its exit code', stops],
  ["ram: 'memfd' needs no /dev/shm", needsNoShm],
  ['--ipc of a container that stays: the next container goes on', outlives],
  ['a volume of type tmpfs is emptied when the last container that has it stops', forgets],
  ['--memory counts the RAM: enough for an upgrade; exit code 137 where it is too little', isLimited],
];

const KUBERNETES: readonly Claim[] = [
  ['kubectl knows every field of the pod', ({ pod, docker }) => typesOfPods(pod, docker.folder)],
  ['its containers: as that user, on a read-only root, upgraded, restarted, stopped in time', livesInPod],
];

export async function containers(): Promise<Report> {
  const names = 'Docker and Kubernetes, as docs/deploy.md has them';
  const started = await Docker.start();
  if (typeof started === 'string') return skipped(names, started);
  await using docker = started;
  const made = await makeBase(docker);
  if (!made.ok) return single(`an image for '${BASE}'`, made);
  const place = new Place(docker, await freePort());
  const built = await place.build();
  const reports = [single('docker build', built)];
  if (!built.ok) return sum(reports);
  for (const claim of DOCKER) reports.push(await prove(claim, place));
  const kubectl = await command('kubectl', ['version', '--client']);
  if (kubectl.ok) for (const claim of KUBERNETES) reports.push(await prove(claim, place));
  else
    reports.push(
      skipped(
        'Kubernetes',
        'kubectl is not installed; on Debian: apt-get install --no-install-recommends kubernetes-client',
      ),
    );
  return sum(reports);
}

async function prove([claim, proof]: Claim, place: Place): Promise<Report> {
  try {
    await proof(place);
    return single(claim, { ok: true, output: '' });
  } catch (error) {
    return single(claim, { ok: false, output: `${String(error)}\n${await place.logs()}` });
  } finally {
    await place.clear();
  }
}

/** The folder of the application, its image, and where its containers are asked. */
class Place {
  readonly docker: Docker;
  readonly app: string;
  /** The pod of the page. */
  readonly pod: string;
  readonly page = readFileSync(join(root, 'docs/deploy.md'), 'utf8');
  readonly #port: number;
  /** The service of the front page. */
  readonly service: string;

  constructor(docker: Docker, port: number) {
    this.docker = docker;
    this.app = join(docker.folder, 'app');
    this.#port = port;
    this.pod = this.block('Kubernetes', 'yaml');
    const front = extract(readFileSync(join(root, 'README.md'), 'utf8'));
    this.service = front.find(({ named }) => named === 'app.ts')?.code ?? '';
  }

  /** The nth block of a kind below a heading of the page. */
  block(heading: string, kind: string, nth = 0): string {
    const section = this.page.split(/^## /m).find((text) => text.startsWith(heading)) ?? '';
    const blocks = [...section.matchAll(new RegExp(`\`\`\`${kind}\\n([^]*?)\`\`\``, 'g'))];
    const found = blocks.at(nth)?.[1];
    if (found === undefined) throw new Error(`docs/deploy.md has no block ${nth} of ${kind} in ${heading}`);
    return found;
  }

  /**
   * Builds the image by the Dockerfile of the page. What `npm ci` wants comes along in npm's cache:
   * a registry of this machine is none of the container's.
   */
  async build(): Promise<Ended> {
    mkdirSync(join(this.app, 'build'), { recursive: true });
    mkdirSync(join(this.app, 'current'));
    const installed = await this.#install();
    if (!installed.ok) return installed;
    rmSync(join(this.app, 'node_modules'), { recursive: true });
    writeFileSync(join(this.app, '.npmrc'), 'cache=/app/.npm\nprefer-offline=true\n');
    writeFileSync(join(this.app, 'Dockerfile'), this.block('Docker', 'dockerfile'));
    writeFileSync(join(this.app, 'current/app.js'), this.service);
    const [build] = this.block('Docker', 'sh').split('\n');
    return this.docker.shell(build, this.app);
  }

  async #install(): Promise<Ended> {
    const [line] = /^npm install [^#\n]*/m.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? [''];
    const words = line.trim().split(' ').slice(1);
    const folder = await pack();
    using registry = await Registry.start();
    for (const each of workspace().filter((other) => !other.private)) {
      const file = tarball(folder, each);
      const packed = await command('tar', ['-xzOf', file, 'package/package.json']);
      registry.add(JSON.parse(packed.stdout) as Manifest, readFileSync(file));
    }
    writeFileSync(join(this.app, '.npmrc'), registry.npmrc);
    writeFileSync(join(this.app, 'package.json'), '{ "private": true, "type": "module" }');
    const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--omit-lockfile-registry-resolved=false'];
    const cache = ['--cache', join(this.app, '.npm')];
    return await command('npm', [...words, ...quick, ...cache], { cwd: this.app, timeout: HANGS });
  }

  /** Runs lines as the page has them, on the network of the host. @throws Error one failed */
  async type(script: string): Promise<string> {
    const network = `--network=host --env PORT=${this.#port}`;
    const ended = await this.docker.shell(script.replaceAll(/-p \d+:\d+/g, network), this.app);
    if (!ended.ok) throw new Error(ended.output);
    return ended.output;
  }

  /** `docker run` of the page with other options than those for memory. */
  async start(options: string): Promise<void> {
    const line = this.block('Docker', 'sh').split('\n')[1];
    await this.type(line.replace('--shm-size=2g', options));
  }

  /** The words that run `liveupdate` in a container. */
  command(container: string, ...words: string[]): string[] {
    return ['exec', container, 'npx', 'liveupdate', ...words];
  }

  /** Replaces the program in the container by another version, as the page says. */
  async upgrade(code: string): Promise<Ended> {
    writeFileSync(join(this.app, 'build/app.js'), code);
    return this.docker.shell(this.block('Docker', 'sh', 1), this.app);
  }

  ask(): Promise<string> {
    return askAt(`http://127.0.0.1:${this.#port}/page`);
  }

  /** What the service answers, as soon as it does. @throws Error it does not in time */
  async answer(): Promise<string> {
    const end = Date.now() + PATIENCE;
    for (;;) {
      try {
        return (await this.ask()).trim();
      } catch (error) {
        if (Date.now() > end) throw error;
        await delay(50);
      }
    }
  }

  async expect(answer: string): Promise<void> {
    const said = await this.answer();
    if (said !== answer) throw new Error(`the service answers '${said}', and not '${answer}'`);
  }

  async inspect(container: string, what: string): Promise<string> {
    return (await this.docker.run('inspect', '--format', `{{${what}}}`, container)).stdout.trim();
  }

  /** The exit code of a container that ends by itself. */
  async ends(container: string): Promise<number> {
    return Number((await this.docker.run('wait', container)).stdout);
  }

  async logs(): Promise<string> {
    const { stdout } = await this.docker.run('ps', '--all', '--format', '{{.Names}}');
    const all = stdout.split('\n').filter(Boolean);
    const logs = all.map(async (name) => `${name}:\n${(await this.docker.run('logs', name)).output}`);
    return (await Promise.all(logs)).join('\n');
  }

  /** Removes all containers and volumes. */
  async clear(): Promise<void> {
    for (const [list, remove] of [
      ['ps --all --quiet', 'rm --force'],
      ['volume ls --quiet', 'volume rm'],
    ]) {
      const { stdout } = await this.docker.run(...list.split(' '));
      const all = stdout.split('\n').filter(Boolean);
      if (all.length > 0) await this.docker.run(...remove.split(' '), ...all);
    }
  }
}

async function askAt(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) });
  return response.text();
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function check(holds: boolean, why: string): void {
  if (!holds) throw new Error(why);
}

/** Another version of the service. */
const newer = (service: string): string => service.replace(': visit', ': new visit');

async function refusesSmallShm(at: Place): Promise<void> {
  await at.start('');
  const code = await at.ends('counter');
  check(code === 1, `exit code ${code}`);
  check((await at.logs()).includes('ENOSPC'), 'it does not say ENOSPC');
}

async function upgrades(at: Place): Promise<void> {
  await at.start('--shm-size=2g');
  await at.expect('/page: visit 1, generation 1');
  const load = new Load(at);
  await load.answered(100);
  const upgraded = await at.upgrade(newer(at.service));
  check(upgraded.ok, upgraded.output);
  check(upgraded.output.includes('generation 2'), upgraded.output);
  await load.answered(100);
  const { answers, failures } = await load.end();
  check(failures.length === 0, `${failures.length} requests failed: ${failures[0]}`);
  await at.expect(`/page: new visit ${answers + 2}, generation 2`);
}

async function goesOn(at: Place): Promise<void> {
  await at.start('--shm-size=2g');
  await at.expect('/page: visit 1, generation 1');
  const [signal] = /docker kill --signal=\w+ counter/.exec(at.page) ?? ['false'];
  await at.type(signal);
  while (!(await at.logs()).includes('generation 2')) await delay(50);
  await at.expect('/page: visit 2, generation 2');
  const refused = await at.upgrade("throw new Error('bad');");
  check(!refused.ok && refused.output.includes('the version before goes on'), refused.output);
  await at.expect('/page: visit 3, generation 2');
  await at.type('docker cp ./current/. counter:/app/current');
  const { output } = await at.docker.run(...at.command('counter', 'status', '--json', 'counter'));
  const { servicePid } = JSON.parse(output) as { servicePid: number };
  await at.type(`docker exec counter sh -c 'kill -9 ${servicePid}'`);
  await at.expect('/page: visit 4, generation 3');
}

async function stops(at: Place): Promise<void> {
  await at.start('--shm-size=2g');
  await at.expect('/page: visit 1, generation 1');
  await at.type('docker stop counter'); // Docker kills after 10 s, with another exit code
  const code = await at.inspect('counter', '.State.ExitCode');
  check(code === '0', `exit code ${code}`);
}

/** The service with other memory than that of the front page. */
function inMemfd(service: string, map: string): string {
  return service
    .replace("size: '1GiB'", "size: '1GiB', ram: 'memfd'")
    .replace("size: '64MiB'", `size: '${map}'`);
}

/** Has the next container begin with another program than that of the image. */
async function create(at: Place, code: string, options: string): Promise<void> {
  writeFileSync(join(at.app, 'build/app.js'), code);
  const line = at.block('Docker', 'sh').split('\n')[1];
  await at.type(line.replace('docker run -d', 'docker create').replace('--shm-size=2g', options));
  await at.type('docker cp ./build/. counter:/app/current && docker start counter');
}

async function needsNoShm(at: Place): Promise<void> {
  const service = inMemfd(at.service, '200MiB');
  await create(at, service, '');
  await at.expect('/page: visit 1, generation 1');
  const upgraded = await at.upgrade(newer(service));
  check(upgraded.ok, upgraded.output);
  await at.expect('/page: new visit 2, generation 2');
}

async function outlives(at: Place): Promise<void> {
  const [stays, first, stop, second] = at.block('Docker', 'sh', 2).split('\n');
  await at.type(`${stays}\n${first}`);
  await at.expect('/page: visit 1, generation 1');
  await at.type(`${stop}\n${second}`);
  await at.expect('/page: visit 2, generation 2');
}

async function forgets(at: Place): Promise<void> {
  await at.type('docker volume create --opt type=tmpfs --opt device=tmpfs --opt o=size=2g ram');
  for (let i = 0; i < 2; i++) {
    await at.start('--volume ram:/dev/shm');
    await at.expect('/page: visit 1, generation 1');
    await at.type('docker stop counter && docker rm counter');
  }
}

async function isLimited(at: Place): Promise<void> {
  const { stdout } = await at.docker.run('info', '--format', '{{.MemoryLimit}}');
  check(stdout.trim() === 'true', 'this Linux has no control groups for memory');
  const service = inMemfd(at.service, '400MiB');
  await create(at, service, '--memory=700m --memory-swap=700m');
  await at.expect('/page: visit 1, generation 1');
  const upgraded = await at.upgrade(newer(service));
  check(upgraded.ok, upgraded.output);
  await at.expect('/page: new visit 2, generation 2');
  await at.clear();
  await create(at, service, '--memory=300m --memory-swap=300m');
  const code = await at.ends('counter');
  check(code === KILLED, `exit code ${code}`);
}

async function livesInPod(at: Place): Promise<void> {
  const [pod] = await podsOf(at.pod, at.docker.folder);
  const lines = runPod(pod);
  await at.type(lines.volumes.join('\n'));
  await at.type(lines.init.join('\n'));
  await at.type(lines.start);
  await at.expect('/page: visit 1, generation 1');
  writeFileSync(join(at.app, 'build/app.js'), newer(at.service));
  const [copy, upgrade] = at.block('Kubernetes', 'sh').split('\n');
  await at.type(asKubectl(copy));
  check((await at.type(asKubectl(upgrade))).includes('generation 2'), 'it is not upgraded');
  await at.expect('/page: new visit 2, generation 2');
  // A container that ends is replaced by a new one in the same pod.
  await at.type(`docker kill ${pod.metadata.name} && docker rm ${pod.metadata.name}`);
  await at.type(lines.start);
  await at.expect('/page: new visit 3, generation 3');
  await at.type(lines.stop);
  const code = await at.inspect(pod.metadata.name, '.State.ExitCode');
  check(code === '0', `exit code ${code}`);
}

/** What kubectl does in a container: it copies files by tar, from the folder above. */
function asKubectl(line: string): string {
  const [, from, container, above, into] = /^kubectl cp (\S+) (\w+):(\S+)\/(\w+)$/.exec(line) ?? [];
  if (!from) return line.replace('kubectl exec', 'docker exec').replace(' -- ', ' ');
  const files = `find . -type f | tar -cf - --transform 's,^[.],${into},' -T -`;
  return `(cd ${from}; ${files}) | docker exec -i ${container} tar -xmf - -C ${above}`;
}

/** Clients that ask without a pause. */
class Load {
  readonly #at: Place;
  readonly #clients: Promise<void>[];
  readonly #failures: string[] = [];
  #answers = 0;
  #isOver = false;

  constructor(at: Place) {
    this.#at = at;
    this.#clients = Array.from({ length: CLIENTS }, () => this.#askAlways());
  }

  async #askAlways(): Promise<void> {
    while (!this.#isOver) {
      try {
        await this.#at.ask();
        this.#answers += 1;
      } catch (error) {
        this.#failures.push(inspect(error));
        await delay(50);
      }
    }
  }

  /** Resolves when so many more were answered, or failed. */
  async answered(more: number): Promise<void> {
    const end = this.#answers + more;
    while (this.#answers < end && this.#failures.length === 0) await delay(10);
  }

  async end(): Promise<{ answers: number; failures: readonly string[] }> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    return { answers: this.#answers, failures: this.#failures };
  }
}
