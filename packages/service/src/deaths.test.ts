/** Generations that die, or are told to end, in the narrowest moments of an upgrade. */
import * as fs from 'node:fs';
import * as net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import type { SupervisorOptions } from './supervisor-options.ts';
import { NUMBERS, ProgramFile, Supervised } from './test-service.ts';

const running: Supervised[] = [];
const programs: ProgramFile[] = [];

afterEach(async () => {
  for (const supervised of running.splice(0)) await supervised.stop();
  for (const program of programs.splice(0)) program[Symbol.dispose]();
});

async function start(
  code = NUMBERS,
  options: Partial<SupervisorOptions> = {},
): Promise<{ supervised: Supervised; program: ProgramFile; url: string }> {
  const program = new ProgramFile(code);
  programs.push(program);
  const supervised = new Supervised(program, options);
  running.push(supervised);
  await supervised.event('ready');
  const url = `http://127.0.0.1:${supervised.port}/5`;
  await fetch(url, { method: 'PUT', body: '17' });
  return { supervised, program, url };
}

async function failure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing',
    (error: unknown) => (error as Error).message,
  );
}

async function get(url: string): Promise<string> {
  return (await fetch(url)).text();
}

const DIES = "process.kill(process.pid, 'SIGKILL');";

test('the new one dies when it has committed, and has told nobody: the service is started again', async () => {
  const { supervised, program, url } = await start();
  program.write(
    NUMBERS.replace('await service.ready', `if (service.origin === 'handover') { service.machine.commit(); ${DIES} }\nawait service.ready`),
  ); // prettier-ignore
  expect(await failure(supervised.supervisor.upgrade())).toContain('started again');
  await supervised.event('ready', 2);
  expect(await get(url)).toBe('17');
});

test('and it is the version before that is started, where links tell them apart', async () => {
  const bad = new ProgramFile(
    NUMBERS.replace('await service.ready', `service.machine.commit(); ${DIES}\nawait service.ready`),
  );
  const good = new ProgramFile(NUMBERS);
  programs.push(bad, good);
  const link = `${good.path}.link.mjs`;
  fs.symlinkSync(good.path, link);
  try {
    const { supervised, url } = await start(NUMBERS, { command: [...good.command.slice(0, -1), link] });
    fs.rmSync(link);
    fs.symlinkSync(bad.path, link);
    expect(await failure(supervised.supervisor.upgrade())).toContain('the version before is started again');
    await supervised.event('ready', 2);
    expect(supervised.supervisor.status.crashes).toBe(1);
    expect(await get(url)).toBe('17');
  } finally {
    fs.rmSync(link, { force: true });
  }
});

/** It takes its time to end. */
const LINGERS = `${NUMBERS}\nprocess.on('exit', () => { for (const end = Date.now() + 500; Date.now() < end;); });`;

test('the new one dies while the one before is still ending: it is started again', async () => {
  const { supervised, program, url } = await start(LINGERS);
  program.write(`${NUMBERS}\nif (service.origin === 'handover') setTimeout(() => { ${DIES} }, 50);`);
  await supervised.supervisor.upgrade();
  await supervised.event('ready', 3);
  expect(await get(url)).toBe('17');
});

test('SIGTERM while the one before is still ending: the new one ends politely', async () => {
  const { supervised, program } = await start(LINGERS);
  program.write(NUMBERS.replace('process.exit(0)', 'process.exit(7)'));
  const upgraded = supervised.supervisor.upgrade();
  await supervised.event('ready', 2);
  await delay(100);
  supervised.supervisor.signal('SIGTERM');
  await upgraded;
  expect((await supervised.event('ended')).text).toContain('code 7');
});

test('where a version that fails has listened, nobody listens afterwards', async () => {
  const { supervised, program } = await start();
  const path = `${program.path}.sock`;
  program.write(
    NUMBERS.replace(
      'await service.ready',
      `await service.listen(createServer(), { path: '${path}' });\nthrow new Error('bad');\nawait service.ready`,
    ),
  );
  try {
    expect(await failure(supervised.supervisor.upgrade())).toContain('code 1');
    expect(supervised.supervisor.status.listeners).toHaveLength(1);
    const refused = await new Promise((resolve) => {
      net.connect(path).once('error', ({ message }) => {
        resolve(message);
      });
    });
    expect(refused).toMatch(/ECONNREFUSED|ENOENT/);
  } finally {
    fs.rmSync(path, { force: true });
  }
});

test('the one that runs is told to end during an upgrade: it ends when that is over', async () => {
  const { supervised, program } = await start();
  const { pid } = supervised;
  program.write(
    NUMBERS.replace(
      'await service.ready',
      `process.kill(${pid}, 'SIGTERM');\nawait new Promise((r) => setTimeout(r, 300));\nthrow new Error('bad');\nawait service.ready`,
    ),
  );
  await failure(supervised.supervisor.upgrade());
  const ended = (): string | undefined =>
    supervised.events.map(({ text }) => text).find((text) => text.startsWith(`pid ${pid} ended`));
  for (let i = 0; i < 6000 && ended() === undefined; i++) await delay(10);
  expect(ended()).toContain('code 0');
});

test('a hook that never returns: the upgrade fails, and the next one may come', async () => {
  const { supervised, program, url } = await start(
    NUMBERS.replace('await service.ready', 'service.beforeUpgrade(() => globalThis.isBad && new Promise(() => {}));\nglobalThis.isBad = true;\nawait service.ready'),
    { armLimit: 8000 },
  ); // prettier-ignore
  for (let i = 0; i < 2; i++) {
    expect(await failure(supervised.supervisor.upgrade())).toMatch(
      /did not stop after 8000 ms: the version before goes on/,
    );
    expect(await get(url)).toBe('17');
  }
  program.write(NUMBERS);
});

test('where the one that runs has no descriptor left, the upgrade is refused and it goes on', async () => {
  const LIMIT = 150;
  const program = new ProgramFile(NUMBERS);
  programs.push(program);
  const command = ['/bin/sh', '-c', `ulimit -n ${LIMIT}; exec "$0" "$@"`, ...program.command];
  const supervised = new Supervised(program, { command });
  running.push(supervised);
  await supervised.event('ready');
  const { pid, port } = supervised;
  const clients: net.Socket[] = [];
  let closed = 0;
  while (fs.readdirSync(`/proc/${pid}/fd`).length < LIMIT - 1) {
    const client = net.connect(port, '127.0.0.1');
    client.on('error', () => undefined).on('close', () => (closed += 1));
    clients.push(client);
    await new Promise((resolve) => client.once('connect', resolve));
    await delay(2);
  }
  expect(await failure(supervised.supervisor.upgrade())).toContain('EMFILE');
  expect([closed, supervised.pid]).toEqual([0, pid]);
  for (const client of clients.splice(10)) client.destroy();
  await delay(50);
  await supervised.supervisor.upgrade();
  expect(supervised.pid).not.toBe(pid);
  expect(clients.filter(({ destroyed }) => destroyed)).toEqual([]);
  for (const client of clients) client.destroy();
});

test('one process has one service', async () => {
  const second = "const code = await openService({ name: name + '-2', size }).catch((error) => error.code);";
  await start(
    NUMBERS.replace(
      'await service.ready',
      `${second}\nif (code !== 'EEXIST') throw new Error(code);\nawait service.ready`,
    ),
  );
});

test('a program that is not there has no process: nothing tells a number of it', async () => {
  using program = new ProgramFile('');
  const supervised = new Supervised(program, { command: ['/no/such/program'] });
  await supervised.event('ended');
  expect(supervised.events.map(({ event, pid }) => [event, pid])).toEqual([
    ['crashed', undefined],
    ['ended', undefined],
  ]);
  expect(supervised.events[0].text).toMatch(/^'\/no\/such\/program' could not be started/);
});
