/**
 * `Type=notify-reload` of docs/deploy.md under the systemd of Debian's unstable, the first process
 * of namespaces of its own: that of a host may be older than 253, which is the first that has it.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { systemdRoot } from './systemd-root.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const PAGE = fs.readFileSync(here('../../../docs/deploy.md'), 'utf8');
/** Blocks of the page: the service, and what notify-reload changes of it. */
const [SERVICE, RELOAD] = [...PAGE.matchAll(/```ini\n([^]*?)```/g)].map(([, text]) => text);
const CLI = here('../../../packages/cli/src/main.ts');
const NODE = [process.execPath, '--conditions=@liveupdate/source', '--no-warnings'];

/** Counts in memory, and tells where it is asked by a file. */
const program = (name: string): string => `
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { openService } from '@liveupdate/service';
const service = await openService({ name: '${name}', size: '16MiB', ram: 'memfd' });
const count = new Uint32Array((await service.file('count', { size: 4096 })).bytes.buffer);
const server = createServer((_, response) => response.end(\`\${(count[0] += 1)} \${service.generation}\`));
const { port } = await service.listen(server, { port: 0, host: '127.0.0.1' });
await service.ready();
writeFileSync(new URL('port', import.meta.url), String(port));
process.on('SIGTERM', () => service.close().then(() => process.exit(0)));
`;

/** A systemd whose programs and libraries are those of another root. */
class Namespaces implements AsyncDisposable {
  /** In this package: what the service imports is found from there. */
  readonly folder = fs.mkdtempSync(join(here('../.vitest'), 'systemd-'));
  readonly #group: string;
  readonly #unshare: ChildProcess;
  #pid = 0;

  private constructor(root: string, groups: string) {
    const units = join(this.folder, 'units');
    fs.mkdirSync(units);
    for (const target of ['sysinit', 'basic', 'shutdown', 'multi-user', 'start'])
      fs.writeFileSync(join(units, `${target}.target`), '[Unit]\nDefaultDependencies=no\n');
    const init = `mount --make-rprivate / && mount --bind ${root}/usr /usr || exit 1
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 1
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
exec env -i container=other PATH="$PATH" SYSTEMD_UNIT_PATH=${units} /usr/lib/systemd/systemd --system --unit=start.target --show-status=0 --log-target=null\n`;
    this.#group = fs.mkdtempSync(join(groups, 'liveupdate-'));
    const words = ['--pid', '--mount', '--cgroup', '--fork', '--mount-proc', '--kill-child'];
    const script = 'echo $$ >"$0/cgroup.procs" && exec unshare "$@"';
    const args = ['-c', script, this.#group, ...words, 'sh', '-c', init];
    this.#unshare = spawn('sh', args, { stdio: 'ignore' });
  }

  static async start(root: string, groups: string): Promise<Namespaces> {
    fs.mkdirSync(here('../.vitest'), { recursive: true });
    const systemd = new Namespaces(root, groups);
    const list = `/proc/${systemd.#unshare.pid}/task/${systemd.#unshare.pid}/children`;
    while (systemd.#unshare.exitCode === null) {
      const [first = '0'] = fs.readFileSync(list, 'latin1').trim().split(' ');
      systemd.#pid = Number(first);
      if (systemd.#pid > 0 && systemd.control('is-system-running').stdout.trim() === 'running')
        return systemd;
      await pause(20);
    }
    await systemd[Symbol.asyncDispose]();
    throw new Error('this systemd does not start');
  }

  control(...args: string[]): { status: number | null; stdout: string; stderr: string } {
    const words = ['-t', String(this.#pid), '-m', '-p', 'systemctl', ...args];
    return spawnSync('nsenter', words, { encoding: 'utf8' });
  }

  /** A property of the service. */
  of(property: string): string {
    return this.control('show', 'counter.service', '--value', '-p', property).stdout.trim();
  }

  async ask(): Promise<string> {
    const port = fs.readFileSync(join(this.folder, 'port'), 'utf8');
    return (await fetch(`http://127.0.0.1:${port}`, { headers: { connection: 'close' } })).text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.control('stop', 'counter.service');
    const { exitCode, signalCode } = this.#unshare;
    const ended = exitCode ?? signalCode ?? once(this.#unshare, 'exit');
    if (this.#pid > 0) process.kill(this.#pid, 'SIGKILL');
    await ended;
    await removeGroup(this.#group);
    fs.rmSync(this.folder, { recursive: true });
  }
}

/** Removes a control group, and those in it, as soon as nobody is there. */
async function removeGroup(path: string): Promise<void> {
  for (const entry of fs.readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) await removeGroup(join(path, entry.name));
  while (fs.existsSync(path)) {
    try {
      fs.rmdirSync(path);
    } catch {
      await pause(20);
    }
  }
}

/** Where control groups of the kind that new systemds want are. */
function unifiedGroups(): string | undefined {
  return /^\S+ (\S+) cgroup2 /m.exec(fs.readFileSync('/proc/mounts', 'utf8'))?.[1];
}

test('systemctl reload upgrades by signal; the status tells of a bad version', async (context) => {
  const made = systemdRoot(253, 'has notify-reload');
  if ('why' in made) context.skip(made.why);
  const groups = unifiedGroups();
  if (groups === undefined) context.skip('no cgroup2 is mounted here, and systemd wants one');
  if ('why' in made || groups === undefined) return;
  const name = `test-notify-reload-${process.pid}`;
  await using systemd = await Namespaces.start(made.root, groups);
  const file = join(systemd.folder, 'app.mjs');
  fs.writeFileSync(file, program(name));
  const limits = ['--arm-limit', '300000', '--ready-limit', '150000'];
  const run = [...NODE, CLI, 'run', '--name', name, ...limits, '--', ...NODE, file].join(' ');
  const unit = `${SERVICE}\n${RELOAD}`
    .replace(/^ExecStart=.*$/m, `ExecStart=${run}`)
    .replace(/^ExecReload=.*\n/m, '')
    .replace(/^TimeoutStartSec=.*$/m, 'TimeoutStartSec=600');
  fs.writeFileSync(join(systemd.folder, 'units/counter.service'), unit);
  systemd.control('daemon-reload');
  expect(systemd.control('start', 'counter')).toMatchObject({ status: 0, stderr: '' });
  const pid = systemd.of('MainPID');
  expect([systemd.of('Type'), await systemd.ask()]).toEqual(['notify-reload', '1 1']);

  expect(systemd.control('reload', 'counter')).toMatchObject({ status: 0, stderr: '' });
  expect(systemd.of('StatusText')).toMatch(/^generation 2 .* took over from 1 /);
  expect([await systemd.ask(), systemd.of('MainPID')]).toEqual(['2 2', pid]);

  // A reload by signal cannot tell systemd that it has failed.
  fs.writeFileSync(file, "throw new Error('bad')");
  expect(systemd.control('reload', 'counter')).toMatchObject({ status: 0, stderr: '' });
  expect(systemd.of('StatusText')).toMatch(/^EIO: the new version ended with code 1 /);
  expect([await systemd.ask(), systemd.of('ActiveState')]).toEqual(['3 2', 'active']);
});
