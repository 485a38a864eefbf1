/**
 * The units of docs/deploy.md: as `systemd-analyze verify` sees them, and under a real systemd, the
 * first process of namespaces of its own.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { liveupdateCommand } from './test-cli.ts';
import { ask, COUNTER, PATIENT, TestService } from './test-running.ts';

const PAGE = fs.readFileSync(new URL('../../../docs/deploy.md', import.meta.url), 'utf8');
/** Blocks of the page: the service, for notify-reload, for memory in the store, the socket. */
const [UNIT, RELOAD, STORE, SOCKET] = [...PAGE.matchAll(/```ini\n([^]*?)```/g)].map(([, text]) => text);

const SYSTEMD = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'].find((path) => fs.existsSync(path));

function version(): number {
  const { stdout } = spawnSync('systemctl', ['--version'], { encoding: 'utf8' });
  return Number(/systemd (\d+)/.exec(stdout)?.[1] ?? 0);
}

/** Why there is no real systemd here; undefined where there is. */
function missing(): string | undefined {
  if (SYSTEMD === undefined) return 'systemd is not installed';
  const { status } = spawnSync('unshare', ['--pid', '--mount', '--fork', '--mount-proc', 'true']);
  return status === 0 ? undefined : 'namespaces cannot be made here: run as root';
}

let folder: string;
let service: TestService;

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-systemd-'));
  fs.chmodSync(folder, 0o755);
});

afterAll(() => {
  fs.rmSync(folder, { recursive: true });
});

beforeEach(() => {
  service = new TestService();
});

afterEach(async () => {
  await service[Symbol.asyncDispose]();
});

/** A command as a line of a unit has it. */
function line(words: readonly string[]): string {
  return words.map((word) => `"${word.replaceAll('%', '%%')}"`).join(' ');
}

/** The unit of the page, with the programs of this test in place of those that are installed. */
function unit(...changes: readonly string[]): string {
  const run = line(liveupdateCommand('run', '--name', service.name, ...PATIENT, '--', ...service.words));
  const upgrade = line(liveupdateCommand('upgrade', service.name));
  let text = UNIT.replace(/^ExecStart=.*$/m, `ExecStart=${run}`)
    .replace(/^ExecReload=.*$/m, `ExecReload=${upgrade}`)
    .replace(/^TimeoutStartSec=.*$/m, 'TimeoutStartSec=600');
  for (const change of changes) text = text.replace('[Service]\n', change.trim() + '\n');
  return text;
}

describe('systemd-analyze verify', () => {
  test.for<[string, string, () => string]>([
    ['the service', 'counter.service', () => unit()],
    ['with memory in its store', 'counter.service', () => unit(STORE)],
    ['the socket', 'counter.socket', () => SOCKET],
  ])('%s', ([, name, text], context) => {
    if (spawnSync('systemd-analyze', ['--version']).status !== 0)
      context.skip('systemd-analyze is not installed');
    fs.writeFileSync(join(folder, 'counter.service'), unit());
    fs.writeFileSync(join(folder, name), text());
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', join(folder, name)], {
      encoding: 'utf8',
    });
    const ours = stderr.split('\n').filter((each) => each.includes('counter.'));
    const known =
      version() < 254 ? ours.filter((each) => !each.includes('FileDescriptorStorePreserve')) : ours;
    expect([status, known]).toEqual([0, []]);
  });
});

/** A systemd, with nothing to start but what it is asked for. */
class RealSystemd implements AsyncDisposable {
  readonly #unshare: ChildProcess;
  readonly #units = join(folder, 'units');
  #pid = 0;

  constructor() {
    fs.mkdirSync(this.#units, { recursive: true });
    for (const target of ['sysinit', 'basic', 'shutdown', 'sockets', 'multi-user', 'start'])
      fs.writeFileSync(join(this.#units, `${target}.target`), '[Unit]\nDefaultDependencies=no\n');
    const init = join(folder, 'init.sh');
    fs.writeFileSync(
      init,
      `mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system || exit 1
exec env -i container=other PATH="$PATH" SYSTEMD_UNIT_PATH=${this.#units} ${SYSTEMD} --system --unit=start.target --show-status=0 --log-target=null\n`,
    );
    this.#unshare = spawn(
      'unshare',
      ['--pid', '--mount', '--fork', '--mount-proc', '--kill-child', 'sh', init],
      { stdio: 'ignore' },
    );
  }

  async started(): Promise<void> {
    const list = `/proc/${this.#unshare.pid}/task/${this.#unshare.pid}/children`;
    for (;;) {
      this.#pid = Number(fs.readFileSync(list, 'latin1').trim().split(' ')[0]);
      if (this.#pid > 0 && this.control('is-system-running').stdout.trim() === 'running') return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  control(...args: string[]): { status: number | null; stdout: string; stderr: string } {
    const words = ['-t', String(this.#pid), '-m', '-p', 'systemctl', ...args];
    return spawnSync('nsenter', words, { encoding: 'utf8' });
  }

  /** A property of the service. */
  of(property: string): string {
    return this.control('show', 'counter.service', '--value', '-p', property).stdout.trim();
  }

  write(name: string, text: string): void {
    fs.writeFileSync(join(this.#units, name), text);
    this.control('daemon-reload');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.control('stop', 'counter.socket', 'counter.service');
    const ended = new Promise((resolve) => this.#unshare.once('exit', resolve));
    if (this.#pid > 0) process.kill(this.#pid, 'SIGKILL');
    await ended;
  }
}

/** The service tells where it is asked by a file: systemd has its output. */
function program(changes: (code: string) => string = (code) => code): string {
  return changes(COUNTER).replace(
    'process.stdout.write(`${port}\\n`)',
    `(await import('node:fs')).writeFileSync(${JSON.stringify(join(folder, 'port'))}, String(port))`,
  );
}

async function url(): Promise<string> {
  const file = join(folder, 'port');
  while (!fs.existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 5));
  return `http://127.0.0.1:${fs.readFileSync(file, 'utf8')}`;
}

describe('a real systemd', () => {
  test('starts, reloads, refuses a bad version, stops politely, starts where it was', async (context) => {
    const why = missing();
    if (why !== undefined) context.skip(why);
    service.write(program());
    await using systemd = new RealSystemd();
    await systemd.started();
    systemd.write('counter.service', unit());
    expect(systemd.control('start', 'counter')).toMatchObject({ status: 0, stderr: '' });
    expect([systemd.of('ActiveState'), systemd.of('StatusText')]).toEqual([
      'active',
      expect.stringMatching(/^generation 1 .* serves/),
    ]);
    const pid = systemd.of('MainPID');
    expect(await ask(await url())).toBe('1 1');
    expect(systemd.control('reload', 'counter')).toMatchObject({ status: 0, stderr: '' });
    expect(await ask(await url())).toBe('2 2');
    service.write("throw new Error('bad')");
    expect(systemd.control('reload', 'counter').status).not.toBe(0);
    expect([await ask(await url()), systemd.of('ActiveState'), systemd.of('MainPID')]).toEqual([
      '3 2',
      'active',
      pid,
    ]);
    service.write(program());
    expect(systemd.control('reload', 'counter')).toMatchObject({ status: 0 });
    await fetch(`${await url()}/die`).catch(() => undefined);
    expect([await ask(await url()), systemd.of('MainPID')]).toEqual(['4 4', pid]);
    expect(systemd.control('stop', 'counter')).toMatchObject({ status: 0, stderr: '' });
    fs.rmSync(join(folder, 'port'));
    expect(systemd.control('start', 'counter')).toMatchObject({ status: 0, stderr: '' });
    expect(await ask(await url())).toBe('5 5');
  });

  test('listens for it, and keeps its memory over a restart of the unit', async (context) => {
    const why = missing();
    if (why !== undefined) context.skip(why);
    fs.rmSync(join(folder, 'port'), { force: true });
    const port = 20_000 + (process.pid % 10_000);
    const inMemory = (code: string): string =>
      code
        .replace("size: '16MiB'", "size: '16MiB', ram: 'memfd'")
        .replace("port: 0, host: '127.0.0.1'", `port: ${port}`);
    service.write(program(inMemory));
    await using systemd = new RealSystemd();
    await systemd.started();
    systemd.write('counter.service', unit(STORE));
    systemd.write('counter.socket', SOCKET.replace('8080', String(port)));
    expect(systemd.control('start', 'counter.socket')).toMatchObject({ status: 0, stderr: '' });
    const here = `http://127.0.0.1:${port}`;
    expect(await ask(here)).toBe('1 1'); // the question has started it
    expect(systemd.of('NFileDescriptorStore')).toBe('1');
    expect(systemd.control('reload', 'counter')).toMatchObject({ status: 0, stderr: '' });
    expect(await ask(here)).toBe('2 2');
    const restarted = systemd.control('restart', 'counter');
    expect(restarted).toMatchObject({ status: 0, stderr: '' });
    expect(await ask(here)).toBe('3 3');
    expect(fs.existsSync(`/dev/shm/liveupdate.${service.name}`)).toBe(false);
  });

  test('reloads by signal and waits for it (notify-reload)', async (context) => {
    const why =
      missing() ?? (version() < 253 ? `systemd ${version()} has no notify-reload: 253 has` : undefined);
    if (why !== undefined) context.skip(why);
    fs.rmSync(join(folder, 'port'), { force: true });
    service.write(program());
    await using systemd = new RealSystemd();
    await systemd.started();
    systemd.write(
      'counter.service',
      unit(RELOAD)
        .replace('Type=notify\n', '')
        .replace(/^ExecReload=.*\n/m, ''),
    );
    expect(systemd.control('start', 'counter')).toMatchObject({ status: 0, stderr: '' });
    expect(systemd.control('reload', 'counter')).toMatchObject({ status: 0, stderr: '' });
    expect(await ask(await url())).toBe('1 2');
  });
});
