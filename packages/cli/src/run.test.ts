/** `liveupdate run`, `upgrade`, `status`: real services under the real command. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { receiveFds } from '@liveupdate/linux';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { liveupdateCommand } from './test-cli.ts';
import { ask, command, COUNTER, FLAGS, PATIENT, Running, TestService } from './test-running.ts';

let service: TestService;
let name: string;
let program: string;

beforeEach(() => {
  service = new TestService();
  ({ name, program } = service);
});

afterEach(async () => {
  await service[Symbol.asyncDispose]();
});

function start(...args: Parameters<TestService['start']>): Promise<string> {
  return service.start(...args);
}

test('a service is run, upgraded by command and by signal, told of, and ended', async () => {
  const url = await start();
  expect(await ask(url)).toBe('1 1');
  const upgraded = await command('upgrade', name);
  expect(upgraded).toMatchObject({ status: 0, stderr: '' });
  expect(upgraded.stdout).toMatch(/^generation 2 \(pid \d+\) took over from 1 \(pid \d+\), \d+ ms after/);
  expect(await ask(url)).toBe('2 2');
  service.running?.child.kill('SIGUSR2');
  await service.running?.until('stderr', /generation 3 .* took over/);
  expect(await ask(url)).toBe('3 3');
  const status = await command('status', name);
  expect(status.stdout).toMatch(
    /^test-run-.*: ready, generation 3 \(pid \d+\), 2 upgrades, 0 crashes, supervisor \d+\n$/,
  );
  const json = JSON.parse((await command('status', name, '--json')).stdout) as object;
  expect(json).toMatchObject({ name, state: 'ready', generation: 3, upgrades: 2, pid: service.running?.pid });
  expect((await command('status')).stdout).toContain(name);
  expect(await service.running?.end('SIGTERM')).toEqual([7, null]); // the service's own
  expect(await command('status', name)).toMatchObject({ status: 1 });
});

test('one is stopped by command, which returns when it is gone', async () => {
  const url = await start();
  expect(await ask(url)).toBe('1 1');
  expect(await command('stop', name)).toEqual({ status: 0, stdout: `${name} has ended\n`, stderr: '' });
  expect(await service.running?.closed).toEqual([7, null]); // the service's own
  await start();
  const stopped = await command('stop', name, '--json');
  expect(JSON.parse(stopped.stdout)).toEqual({ ok: true, text: `${name} has ended` });
});

test('where its supervisor was killed, it is told who serves, and how to go on', async () => {
  const url = await start();
  expect(await ask(url)).toBe('1 1');
  const { child } = service.running as Running;
  child.kill('SIGKILL');
  await once(child, 'exit');
  const told = await command('status', name);
  expect(told).toMatchObject({ status: 1, stdout: '' });
  const pid = Number(/process (\d+) owns its memory.*end it by 'kill \1', then start/.exec(told.stderr)?.[1]);
  for (const what of ['upgrade', 'stop']) expect((await command(what, name)).stderr).toBe(told.stderr);
  const nobody = spawnSync(
    'unshare',
    ['--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$0" "$@"', ...liveupdateCommand('status')],
    { encoding: 'utf8' },
  );
  if (process.geteuid?.() === 0 && nobody.status === 0)
    expect([nobody.stdout, nobody.stderr]).toEqual([
      'no service is run by liveupdate\n',
      expect.stringContaining(`${name} is owned by process ${pid}, without a supervisor\n`),
    ]);
  process.kill(pid, 'SIGTERM');
  while ((await command('status', name)).stderr === told.stderr) await new Promise((r) => setTimeout(r, 20));
  expect(await ask(await start())).toBe('2 2');
});

test('a stop of one that does not end: what ends it is told, and waited for', async () => {
  const stubborn = COUNTER.replace(
    "process.on('SIGTERM', () => service.close().then(() => process.exit(7)))",
    "process.on('SIGTERM', () => undefined)",
  );
  expect(stubborn).not.toBe(COUNTER);
  await start(stubborn);
  const stopping = new Running(liveupdateCommand('stop', name));
  const pid = Number(
    await stopping.until('stderr', /'kill -9 (\d+)' ends it, and what it has preserved stays\n/),
  );
  process.kill(pid, 'SIGKILL');
  expect(await stopping.closed).toEqual([0, null]);
  expect(stopping.stdout).toBe(`${name} has ended\n`);
});

test('one whose supervisor has another name is told of by that', async () => {
  const other = `${name}-other`;
  await start(COUNTER, ['--name', other]);
  for (const what of ['status', 'stop'])
    expect(await command(what, name)).toEqual({
      status: 1,
      stdout: '',
      stderr: `liveupdate: ENOENT: the supervisor of '${name}' is called '${other}': give that name\n`,
    });
  expect(await command('stop', other)).toMatchObject({ status: 0 });
  expect((await command('stop', other)).stderr).toMatch(/runs: see 'liveupdate list' for its memory/);
});

test('one that is killed is there again, and clients are not refused', async () => {
  const url = await start();
  await ask(url);
  await fetch(`${url}/die`).catch(() => undefined);
  expect(await ask(url)).toMatch(/^2 2$/);
  expect(service.running?.stderr).toMatch(/was ended by SIGKILL/);
});

test('a new version that is bad: exit code 1 and why, and the old one serves', async () => {
  const url = await start();
  fs.writeFileSync(program, COUNTER.replace('const server', "throw new Error('bad');\nconst server"));
  const upgraded = await command('upgrade', name);
  expect(upgraded).toMatchObject({ status: 1, stdout: '' });
  expect(upgraded.stderr).toMatch(
    /^liveupdate: EIO: the new version ended with code 1 \(bad\): the version before goes on\n$/,
  );
  expect(await ask(url)).toBe('1 1');
});

test('what happens as JSON, a line each', async () => {
  await start(COUNTER, ['--json', '--name', name]);
  await service.running?.until('stderr', /"ready"/);
  const events = service.running?.stderr
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { event: string }).event);
  expect(events).toEqual(['started', 'ready']);
});

describe('wrong use', () => {
  test.each([
    { args: ['run'], status: 2 },
    { args: ['run', '--arm-limit', '0', '--', 'node'], status: 2 },
    { args: ['upgrade'], status: 2 },
    { args: ['upgrade', 'no-such-service'], status: 1 },
    { args: ['status', 'no-such-service'], status: 1 },
    { args: ['stop', 'no-such-service'], status: 1 },
    { args: ['stop'], status: 2 },
  ])('$args', async ({ args, status }) => {
    const ran = await command(...args);
    expect([ran.status, ran.stdout]).toEqual([status, '']);
    expect(ran.stderr).toMatch(/^liveupdate: /);
  });
});

test('a program that is not there: its code, and why', async () => {
  const run = new Running(liveupdateCommand('run', '--name', name, '--', '/no/such/program'));
  const [status] = await run.closed;
  expect(status).toBe(127);
  expect(run.stderr).toBe(
    "liveupdate: '/no/such/program' could not be started (spawn /no/such/program ENOENT)\n" +
      'liveupdate: nothing runs: give a program that is there and can be run, then its arguments\n',
  );
});

test('a second supervisor of the same service, by whatever name: given up at once', async () => {
  await start();
  const words = ['run', '--name', `${name}-2`, '--', process.execPath, ...FLAGS, program, name];
  const { status, stderr } = await command(...words);
  expect(status).toBe(1);
  expect(stderr).toMatch(/owns this RAM/);
  expect(stderr).toMatch(/another process owns its memory, so it was given up: end that one first/);
  expect(stderr.match(/starts:/g)).toHaveLength(1);
});

test('no folder for its socket, on a read-only file system: EROFS, and which', (context) => {
  const unshare = (script: string, ...words: string[]) =>
    spawnSync('unshare', ['--mount', 'sh', '-c', `mount -t tmpfs -o ro tmpfs /run && ${script}`, ...words], {
      encoding: 'utf8',
    });
  if (unshare('true').status !== 0) context.skip('a namespace of mounts cannot be made here: run as root');
  const ran = unshare('exec "$0" "$@"', ...liveupdateCommand('run', '--name', name, '--', 'true'));
  expect([ran.status, ran.stdout]).toEqual([1, '']);
  expect(ran.stderr).toMatch(/^liveupdate: EROFS: [^\n]*\/run\/liveupdate: [^\n]*\n$/);
});

test('a second supervisor of the same name: EBUSY', async () => {
  await start(COUNTER, ['--name', name]);
  const second = await command('run', '--name', name, '--', process.execPath, '--version');
  expect(second.status).toBe(1);
  expect(second.stderr).toMatch(/EBUSY: a supervisor of 'test-run-.*' runs already/);
});

describe('systemd', () => {
  /** What is told to a socket of its own, message by message. */
  class Manager implements Disposable {
    readonly socket = `/tmp/${name}.notify`;
    #fd = -1;

    static async open(): Promise<Manager> {
      const { bindDatagram } = await import('../../linux/src/test-sockets.ts');
      const manager = new Manager();
      manager.#fd = bindDatagram(manager.socket);
      return manager;
    }

    async told(): Promise<string> {
      for (;;) {
        const got = receiveFds(this.#fd);
        if (got && got !== 'ended') return Buffer.from(got.bytes).toString();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }

    [Symbol.dispose](): void {
      fs.closeSync(this.#fd);
      fs.rmSync(this.socket, { force: true });
    }
  }

  test('is told when the service is ready and when it stops', async () => {
    using manager = await Manager.open();
    await start(COUNTER, [], { NOTIFY_SOCKET: manager.socket });
    expect(await manager.told()).toMatch(/^READY=1\nSTATUS=generation 1 /);
    await command('upgrade', name);
    expect(await manager.told()).toMatch(/^READY=1\nSTATUS=generation 2 /);
    service.running?.child.kill('SIGTERM');
    expect(await manager.told()).toBe('STOPPING=1');
  });

  test('is told of an upgrade by signal when it begins and when it is over (notify-reload)', async () => {
    using manager = await Manager.open();
    await start(COUNTER, [], { NOTIFY_SOCKET: manager.socket });
    expect(await manager.told()).toMatch(/^READY=1\nSTATUS=generation 1 /);
    service.running?.child.kill('SIGUSR2');
    expect(await manager.told()).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    expect(await manager.told()).toMatch(/^READY=1\nSTATUS=generation 2 .* took over from 1/);
    service.write('throw new Error("bad")');
    service.running?.child.kill('SIGUSR2');
    expect(await manager.told()).toMatch(/^RELOADING=1\n/);
    expect(await manager.told()).toMatch(/^READY=1\nSTATUS=EIO: the new version ended with code 1/);
  });

  test('keeps the memory of a service that is stopped and started', async () => {
    const { bindDatagram } = await import('../../linux/src/test-sockets.ts');
    const socket = `/tmp/${name}.notify`;
    const fd = bindDatagram(socket);
    const code = COUNTER.replace("size: '16MiB'", "size: '16MiB', ram: 'memfd'");
    try {
      const url = await start(code, [], { NOTIFY_SOCKET: socket });
      expect([await ask(url), await ask(url)]).toEqual(['1 1', '2 1']);
      let stored: number | undefined;
      while (stored === undefined) {
        const got = receiveFds(fd);
        if (got && got !== 'ended' && got.fds.length > 0) {
          expect(Buffer.from(got.bytes).toString()).toBe('FDSTORE=1\nFDNAME=liveupdate-memory\nFDPOLL=0');
          [stored] = got.fds;
        } else if (!got) {
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
      await service.running?.end('SIGTERM');
      expect(fs.existsSync(`/dev/shm/liveupdate.${name}`)).toBe(false);
      const words = liveupdateCommand('run', ...PATIENT, '--', process.execPath, ...FLAGS, program, name);
      const shell = 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=liveupdate-memory exec "$@"';
      const child = spawn('sh', ['-c', shell, 'sh', ...words], {
        stdio: ['ignore', 'pipe', 'inherit', stored],
      });
      const [port] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
      expect(await ask(`http://127.0.0.1:${port.toString().trim()}`)).toBe('3 2');
      child.kill('SIGTERM');
      await once(child, 'close');
    } finally {
      fs.closeSync(fd);
      fs.rmSync(socket, { force: true });
    }
  });

  test('listens, and the service goes on with its socket', async () => {
    const { createServer } = await import('node:net');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const fd = (server as unknown as { _handle: { fd: number } })._handle.fd;
    fs.writeFileSync(program, COUNTER.replace('port: 0', `port: ${port}`));
    const words = liveupdateCommand('run', '--', process.execPath, ...FLAGS, program, name);
    const shell = `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`;
    const child = spawn('sh', ['-c', shell, 'sh', ...words], { stdio: ['ignore', 'pipe', 'inherit', fd] });
    try {
      await once(child.stdout as NodeJS.ReadableStream, 'data');
      server.close(); // it is the service's alone
      expect(await ask(`http://127.0.0.1:${port}`)).toBe('1 1');
      await command('upgrade', name);
      expect(await ask(`http://127.0.0.1:${port}`)).toBe('2 2');
    } finally {
      child.kill('SIGTERM');
      await once(child, 'close');
    }
  });
});
