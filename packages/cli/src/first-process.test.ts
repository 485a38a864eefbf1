/** `liveupdate run` as the first process of a container, and in a terminal. */
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { liveupdateCommand } from './test-cli.ts';
import { ask, command, COUNTER, PATIENT, Running, TestService } from './test-running.ts';

let service: TestService;

beforeEach(() => {
  service = new TestService();
});

afterEach(async () => {
  await service[Symbol.asyncDispose]();
});

const UNSHARE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

test('as PID 1 it collects orphans, and takes no exit code from anybody', async (context) => {
  const [file, ...args] = UNSHARE;
  const { status } = spawnSync(file, [...args, 'true']);
  if (status !== 0) context.skip('a namespace of processes cannot be made here: run as root');
  // The parent of each orphan ends at once; a restart needs the exit code of a generation.
  service.write(`
    import { execFileSync, spawnSync } from 'node:child_process';
    import * as fs from 'node:fs';
    const zombies = () => fs.readdirSync('/proc').filter((pid) => {
      try { return /\\) Z 1 /.test(fs.readFileSync('/proc/' + pid + '/stat', 'latin1')); } catch { return false; }
    }).length;
    for (let i = 0; i < 10; i++) execFileSync('sh', ['-c', '(sleep 0.1; exit 3) & exit 0']);
    await new Promise((resolve) => setTimeout(resolve, 150));
    const end = Date.now() + 60_000;
    while (zombies() > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
    console.log('zombies', zombies(), 'parent', process.ppid);
    ${COUNTER}`);
  const run = new Running([...UNSHARE, ...liveupdateCommand('run', ...PATIENT, '--', ...service.words)]);
  expect(await run.until('stdout', /zombies .*/)).toBe('zombies 0 parent 1');
  const url = await run.url();
  await fetch(`${url}/die`).catch(() => undefined);
  await run.until('stderr', /was ended by SIGKILL/);
  expect(await (await fetch(url)).text()).toBe('1 2');
  await run.end('SIGKILL');
});

test('as PID 1, a service that dies while the supervisor is replaced is started again', async (context) => {
  const [file, ...args] = UNSHARE;
  if (spawnSync(file, [...args, 'true']).status !== 0)
    context.skip('a namespace of processes cannot be made here: run as root');
  service.write(
    COUNTER.replace(
      "if (request.url === '/die')",
      "if (request.url.startsWith('/in/')) setTimeout(() => process.kill(process.pid, 'SIGKILL'), Number(request.url.slice(4)));\n  if (request.url === '/die')",
    ),
  );
  const run = new Running([...UNSHARE, ...liveupdateCommand('run', ...PATIENT, '--', ...service.words)]);
  const url = await run.url();
  for (const [i, ms] of [400, 550, 650, 800].entries()) {
    await new Promise((resolve) => setTimeout(resolve, 1100)); // else it has crashed at its start
    await ask(`${url}/in/${ms}`);
    await command('upgrade', service.name, '--supervisor'); // it may just have ended
    while (!(await ask(url).catch(() => '')).endsWith(` ${i + 2}`)) {
      expect(run.child.exitCode).toBe(null);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    while (run.stderr.split('was ended by SIGKILL').length < i + 2)
      await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await run.end('SIGKILL');
});

test('Ctrl-C in a terminal reaches the generation that runs, once, and its exit code is passed on', async (context) => {
  if (spawnSync('script', ['--version']).status !== 0) context.skip('script (bsdutils) is not installed');
  service.write(
    `process.on('SIGINT', () => { console.log('interrupted'); setTimeout(() => process.exit(5), 300); });${COUNTER}`,
  );
  const words = liveupdateCommand('run', ...PATIENT, '--', ...service.words);
  // exec: a shell that stays is interrupted as well, and dies of it
  const line = `exec ${words.map((word) => `'${word}'`).join(' ')}`;
  const run = new Running(['script', '-qec', line, '/dev/null'], {}, true);
  const url = await run.url();
  expect(await (await fetch(url)).text()).toBe('1 1');
  run.child.stdin?.write('\x03');
  expect(await run.closed).toEqual([5, null]);
  expect(run.stdout.match(/interrupted/g)).toHaveLength(1);
  expect(run.stdout).toMatch(/ended with code 5/);
});
