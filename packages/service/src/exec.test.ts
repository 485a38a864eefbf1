/** Without a supervisor a service replaces itself: the same pid, and its clients wait a moment. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { Load } from './test-load.ts';
import { NUMBERS, ProgramFile, testName } from './test-service.ts';

const children: ChildProcess[] = [];
const names: string[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  for (const name of names.splice(0)) fs.rmSync(`/dev/shm/liveupdate.${name}`, { force: true });
});

/** Starts a service, and resolves with its lines: each generation writes the port. */
function run(program: ProgramFile): { child: ChildProcess; line: () => Promise<string> } {
  const name = testName();
  names.push(name);
  const [file, ...args] = program.command;
  const child = spawn(file, args, {
    env: { ...process.env, TEST_NAME: name },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  const line = async (): Promise<string> => {
    while (!text.includes('\n')) await once(child.stdout, 'data');
    const end = text.indexOf('\n');
    const found = text.slice(0, end);
    text = text.slice(end + 1);
    return found;
  };
  return { child, line };
}

test('sockets and connections go along, no request fails', async () => {
  using program = new ProgramFile(NUMBERS);
  const { child, line } = run(program);
  const port = Number(await line());
  const load = new Load({ port, connections: 20 });
  await load.start();
  for (let i = 0; i < 3; i++) {
    child.kill('SIGUSR2');
    expect(Number(await line())).toBe(port);
  }
  const report = await load.stop();
  expect(report).toMatchObject({ failed: 0, closed: 0, refused: 0, failures: [] });
  expect(report.answered).toBeGreaterThan(20);
});

test('memory leaves the page tables while all is still served', async () => {
  // What the hook sees is what there is when serving ends.
  using program = new ProgramFile(
    NUMBERS.replace("'64MiB'", "'192MiB'")
      .replace("size: '1MiB'", "size: '128MiB'")
      .replace(
        'await service.ready();',
        `await service.ready();
const inTables = () => Number(/RssShmem:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]);
if (service.generation === 1) {
  for (let at = 0; at < numbers.length; at += 1024) numbers[at] = 1;
  numbers[1] = inTables();
}
service.beforeUpgrade(() => (numbers[2] = inTables()));`,
      )
      .replace('import', "import { readFileSync } from 'node:fs';\nimport"),
  );
  const { child, line } = run(program);
  const port = Number(await line());
  child.kill('SIGUSR2');
  await line();
  const kib = async (key: number): Promise<number> =>
    Number(await (await fetch(`http://127.0.0.1:${port}/${key}`)).text());
  expect(await kib(1)).toBeGreaterThan(127 * 1024);
  expect(await kib(2)).toBeLessThan(32 * 1024);
});

test('where it cannot be replaced all goes on', async () => {
  using program = new ProgramFile(
    NUMBERS.replace(
      'const state =',
      "process.chdir('/'); process.execArgv.push('--import', './no.js');\nconst state =",
    ),
  );
  const { child, line } = run(program);
  const load = new Load({ port: Number(await line()), connections: 10 });
  await load.start();
  const { answered } = load.counted;
  child.kill('SIGUSR2');
  while (load.counted.answered < answered + 100) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(await load.stop()).toMatchObject({ failed: 0, closed: 0, refused: 0, failures: [] });
});

test('a worker of node:cluster is told what to do instead', async () => {
  using program = new ProgramFile(`
    import cluster from 'node:cluster';
    if (cluster.isPrimary) {
      cluster.fork().on('exit', (code) => process.exit(code));
    } else {
      const { openService } = await import('@liveupdate/service');
      await openService({ name: 'a', size: '16MiB' }).catch((error) => console.log(error.code));
      process.exit(3);
    }
  `);
  const { child, line } = run(program);
  expect(await line()).toBe('EOPNOTSUPP');
  if (child.exitCode === null) await once(child, 'exit');
});
