/** The supervisor's own upgrade: it replaces itself, and the service and its clients go on. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { liveupdateCommand, type Ran } from './test-cli.ts';
import { ask, command, COUNTER, FLAGS, FOLDER, PATIENT, Running, TestService } from './test-running.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

let service: TestService;
/** The program of the supervisor, which another version can stand in for. */
let supervisor: string;

beforeEach(() => {
  service = new TestService();
  supervisor = `${FOLDER}${service.name}-supervisor.mjs`;
  writeSupervisor('');
});

afterEach(async () => {
  await service[Symbol.asyncDispose]();
  fs.rmSync(supervisor, { force: true });
});

function writeSupervisor(before: string): void {
  fs.writeFileSync(
    supervisor,
    `import { run } from ${JSON.stringify(MAIN)};
     const words = process.argv.slice(2);
     ${before}
     process.exitCode = await run(words);`,
  );
}

async function start(code = COUNTER, env: NodeJS.ProcessEnv = {}): Promise<string> {
  service.write(code);
  const words = [process.execPath, ...FLAGS, supervisor, 'run', ...PATIENT, '--', ...service.words];
  service.running = new Running(words, env);
  return service.running.url();
}

interface Status {
  readonly pid: number;
  readonly servicePid: number;
  readonly state: string;
  readonly generation: number;
  readonly upgrades: number;
  readonly crashes: number;
  readonly renewals: number;
}

async function status(): Promise<Status> {
  const { stdout, stderr } = await command('status', service.name, '--json');
  if (stdout === '') throw new Error(`${stderr}\n${service.running?.stderr ?? ''}`);
  return JSON.parse(stdout) as Status;
}

async function renewed(): Promise<void> {
  const done = await command('upgrade', service.name, '--supervisor');
  expect(done).toMatchObject({ status: 0, stderr: '' });
  expect(done.stdout).toMatch(
    /^the supervisor \(pid \d+\) was replaced, and keeps its number; generation \d+ /,
  );
}

test('keeps its pid, the service its own; upgrades, crashes, signals and the exit code are as before', async () => {
  const url = await start();
  expect(await ask(url)).toBe('1 1');
  await command('upgrade', service.name);
  const before = await status();
  await renewed();
  expect(await status()).toEqual({ ...before, renewals: 1 });
  expect(before.pid).toBe(service.running?.pid);
  expect(await ask(url)).toBe('2 2');
  expect(await command('upgrade', service.name)).toMatchObject({ status: 0 });
  expect(await ask(url)).toBe('3 3');
  await renewed();
  await fetch(`${url}/die`).catch(() => undefined); // of one that this supervisor has not started
  expect(await ask(url)).toBe('4 4');
  expect(await status()).toMatchObject({ upgrades: 2, crashes: 1, renewals: 2, state: 'ready' });
  await renewed();
  expect(await service.running?.end('SIGTERM')).toEqual([7, null]);
});

test('clients notice nothing of it', async () => {
  const url = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const answers: string[] = [];
  const over = new AbortController();
  const client = (async () => {
    while (!over.signal.aborted)
      answers.push(
        await new Promise<string>((resolve, reject) => {
          const request = get(url, { agent }, (response: IncomingMessage) => {
            response.setEncoding('utf8').once('data', resolve);
          });
          request.once('error', reject);
        }),
      );
  })();
  for (let i = 0; i < 3; i++) {
    await renewed();
    expect(await command('upgrade', service.name)).toMatchObject({ status: 0 });
  }
  over.abort();
  await client;
  agent.destroy();
  expect(answers.map((text) => Number(text.split(' ')[0]))).toEqual(answers.map((_, i) => i + 1));
  expect(new Set(answers.map((text) => text.split(' ')[1]))).toEqual(new Set(['1', '2', '3', '4']));
});

test('memory without a name goes along', async () => {
  const url = await start(COUNTER.replace("size: '16MiB'", "size: '16MiB', ram: 'memfd'"));
  expect(await ask(url)).toBe('1 1');
  await renewed();
  await fetch(`${url}/die`).catch(() => undefined);
  expect(await ask(url)).toBe('2 2');
  await renewed();
  await command('upgrade', service.name);
  expect(await ask(url)).toBe('3 3');
});

test.each([
  ['that does not start', `throw new Error('no good');`, /could not take over: Error: no good$/],
  [
    'that goes on otherwise',
    `const at = words.indexOf('--takes-over'); if (at > 0) words[at + 1] = '77';`,
    /goes on with format 1, and not with 77/,
  ],
  ['that knows no such thing', `words[0] = 'list';`, /could not take over: /],
])('a version %s is refused, and all goes on', async (_, before, why) => {
  const url = await start();
  const was = await status();
  writeSupervisor(before);
  const refused = await command('upgrade', service.name, '--supervisor', '--json');
  expect(refused.status).toBe(1);
  const { ok, text } = JSON.parse(refused.stdout) as { ok: boolean; text: string };
  expect([ok, text]).toEqual([false, expect.stringMatching(why)]);
  expect(await status()).toEqual(was);
  expect(await ask(url)).toBe('1 1');
  writeSupervisor('');
  await renewed();
  expect(await ask(url)).toBe('2 1');
});

test('a service that dies meanwhile is started again', async () => {
  const url = await start();
  for (let i = 0; i < 8; i++) {
    const { servicePid } = await status();
    const done = command('upgrade', service.name, '--supervisor');
    await new Promise((resolve) => setTimeout(resolve, 40 * i));
    process.kill(servicePid, 'SIGKILL');
    await done; // before the replacement, or after it
    while ((await status()).state !== 'ready') await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await ask(url)).toBe(`${i + 1} ${i + 2}`);
  }
  expect(await status()).toMatchObject({ crashes: 8 });
});

/** The next version says that it is tried out, and waits for leave to answer. */
const slowly = (path: string): string => `if (words.includes('--takes-over')) {
  const fs = process.getBuiltinModule('node:fs');
  fs.writeFileSync('${path}.begun', '');
  while (!fs.existsSync('${path}.go')) await new Promise((resolve) => setTimeout(resolve, 20));
}`;

/** Has the next version tried out. Resolves when that is under way; `go` gives it leave. */
async function tryOut(): Promise<{ readonly done: Promise<Ran>; readonly go: () => void }> {
  const path = service.program;
  for (const end of ['begun', 'go'])
    onTestFinished(() => {
      fs.rmSync(`${path}.${end}`, { force: true });
    });
  writeSupervisor(slowly(path));
  const done = command('upgrade', service.name, '--supervisor');
  while (!fs.existsSync(`${path}.begun`)) await new Promise((resolve) => setTimeout(resolve, 20));
  return {
    done,
    go: () => {
      fs.writeFileSync(`${path}.go`, '');
    },
  };
}

test('while the next version is tried out, a service that dies is started again, and upgrades go on', async () => {
  const url = await start();
  const { done, go } = await tryOut();
  await fetch(`${url}/die`).catch(() => undefined);
  expect(await ask(url)).toBe('1 2');
  expect(await status()).toMatchObject({ renewals: 0, crashes: 1 });
  expect((await command('upgrade', service.name, '--supervisor')).stderr).toMatch(
    /EBUSY: .* is being replaced/,
  );
  go();
  expect(await done).toMatchObject({ status: 0 });
  expect(await status()).toMatchObject({ renewals: 1, crashes: 1 });
});

test('a signal to end that comes while it is tried out ends all, and nothing is started again', async () => {
  const slow = 'setTimeout(() => service.close().then(() => process.exit(7)), 500)';
  await start(COUNTER.replace('service.close().then(() => process.exit(7))', slow));
  const { done, go } = await tryOut();
  expect(await service.running?.end('SIGTERM')).toEqual([7, null]);
  expect(service.running?.stderr.match(/starts:/g)).toHaveLength(1);
  go();
  expect((await done).status).toBe(1);
});

test('who asks may be gone before the answer', async () => {
  const url = await start();
  const [file, ...args] = liveupdateCommand('upgrade', service.name, '--supervisor');
  for (let i = 0; i < 8; i++) {
    const { renewals } = await status();
    const asking = spawn(file, args, { stdio: 'ignore' });
    await new Promise((resolve) => setTimeout(resolve, 250 + 70 * i));
    asking.kill('SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect((await status()).renewals - renewals).toBeLessThan(2);
    expect(await ask(url)).toBe(`${i + 1} 1`);
  }
  expect((await status()).pid).toBe(service.running?.pid);
});

test('a second one waits for nothing: an upgrade that is under way is told', async () => {
  await start();
  const [first, second] = await Promise.all([
    command('upgrade', service.name, '--supervisor'),
    command('upgrade', service.name, '--supervisor'),
  ]);
  const statuses = [first.status, second.status].sort();
  if (statuses[1] === 1)
    expect(first.stderr + second.stderr).toMatch(
      /EBUSY: (an upgrade is under way|the supervisor is being replaced)/,
    );
  expect(statuses[0]).toBe(0);
});
