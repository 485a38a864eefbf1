/**
 * A Docker daemon of our own, and nothing of it afterwards: it runs in namespaces of processes and
 * of mounts, its images lie in a tmpfs there, and its containers share the network of the host
 * without changing it. When the first of its processes is killed, all are gone, with all they had.
 */

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { command, HANGS, type Ended } from './command.ts';

/** Milliseconds until a daemon answers, or is given up. */
const STARTS_IN = 60_000;
/** The daemon and its client; what makes namespaces, of util-linux. */
const PROGRAMS = ['dockerd', 'docker', 'unshare', 'setpriv'];
const CGROUPS = '/sys/fs/cgroup';

/** What the daemon and its containerd write beside their data goes into a tmpfs. */
const INIT = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
for at in etc opt; do
  mkdir -p /run/over/$at/upper /run/over/$at/work
  mount -t overlay -o lowerdir=/$at,upperdir=/run/over/$at/upper,workdir=/run/over/$at/work overlay /$at
done
mkdir "$1/data"
mount -t tmpfs tmpfs "$1/data"
exec dockerd --data-root "$1/data" --exec-root /run/docker --pidfile /run/docker.pid \\
  --host "unix://$1/socket" --iptables=false --ip6tables=false --bridge=none \\
  --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$2"
`;

export class Docker implements AsyncDisposable {
  /** Where its socket is; for files of who uses it, too. */
  readonly folder = mkdtempSync(join(tmpdir(), 'liveupdate-docker-'));
  readonly #cgroup = `liveupdate-check-${process.pid}`;
  readonly #daemon: ChildProcess;
  readonly #ended: Promise<unknown>;
  #said = '';

  private constructor() {
    const init = join(this.folder, 'init.sh');
    writeFileSync(init, INIT);
    // It ends with this process, however that ends.
    const words = ['--pdeathsig', 'KILL', 'unshare', '--mount', '--pid', '--fork', '--kill-child'];
    this.#daemon = spawn('setpriv', [...words, '--mount-proc', 'sh', init, this.folder, this.#cgroup], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#daemon.stderr?.on('data', (chunk: Buffer) => (this.#said += chunk.toString()));
    this.#ended = once(this.#daemon, 'close');
  }

  /** One that answers; or why there is none. */
  static async start(): Promise<Docker | string> {
    if (process.getuid?.() !== 0) return 'only root can start a Docker daemon of its own';
    const missing = PROGRAMS.find((program) => spawnSync(program, ['--version']).status !== 0);
    if (missing !== undefined)
      return `${missing} is not installed; on Debian: apt-get install --no-install-recommends docker.io`;
    const docker = new Docker();
    const end = Date.now() + STARTS_IN;
    while (docker.#daemon.exitCode === null && Date.now() < end) {
      if ((await docker.run('info')).ok) return docker;
      await delay(100);
    }
    await docker[Symbol.asyncDispose]();
    const last = docker.#said.trim().split('\n').at(-1);
    return `a Docker daemon of its own does not start here: ${last || 'it does not say why'}`;
  }

  /** What its client finds in the environment: no settings of whoever runs this. */
  get env(): Record<string, string> {
    return {
      DOCKER_HOST: `unix://${this.folder}/socket`,
      DOCKER_CONFIG: this.folder,
      DOCKER_BUILDKIT: '0', // that asks the registry for an image that is here
    };
  }

  run(...args: string[]): Promise<Ended> {
    return command('docker', args, { env: this.env, timeout: HANGS });
  }

  /** Runs lines of a shell in a folder. */
  shell(script: string, cwd: string): Promise<Ended> {
    return command('sh', ['-ec', script], { env: this.env, cwd, timeout: HANGS });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#daemon.kill('SIGKILL');
    await this.#ended;
    for (const group of this.#groups()) await removeGroup(group);
    rmSync(this.folder, { recursive: true });
  }

  /** Its control groups: one, or one of each kind. */
  #groups(): string[] {
    const places = ['', ...(existsSync(CGROUPS) ? readdirSync(CGROUPS) : [])];
    return places.map((kind) => join(CGROUPS, kind, this.#cgroup)).filter((path) => existsSync(path));
  }
}

/** Removes a control group and those in it, when their last processes are gone. */
async function removeGroup(path: string): Promise<void> {
  for (const name of readdirSync(path))
    if (statSync(join(path, name)).isDirectory()) await removeGroup(join(path, name));
  for (let tries = 0; existsSync(path) && tries < 100; tries++) {
    try {
      rmdirSync(path);
    } catch {
      await delay(50);
    }
  }
}
