/**
 * The RAMs of this host: listed in each state that they can be in, and removed where no process
 * owns them.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { Machine, ramPath } from '@liveupdate/kexec';
import { afterEach, expect, test } from 'vitest';
import type { RamFacts } from './rams.ts';
import { preserveFile, runHere } from './test-cli.ts';

const PREFIX = `test-${process.pid}-`;
const MIB = 2 ** 20;

afterEach(() => {
  for (const name of fs.readdirSync('/dev/shm'))
    if (name.startsWith(`liveupdate.${PREFIX}`)) fs.rmSync(`/dev/shm/${name}`);
});

function open(name: string): Promise<Machine> {
  return Machine.open({ name: PREFIX + name, size: 16 * MIB });
}

/** A RAM whose owner died, with a file preserved in it. */
function dead(name: string, how = "process.kill(process.pid, 'SIGKILL')"): void {
  const code = `import { Machine } from '@liveupdate/kexec';
    const machine = await Machine.open({ name: process.argv[1], size: '16MiB' });
    const file = machine.kernel.shmem.memfdCreate('state');
    file.write(new TextEncoder().encode('state'));
    await machine.kernel.luo.createSession('service').preserve(file, 1);
    ${how};`;
  const args = ['--conditions=@liveupdate/source', '--input-type=module', '-e', code, PREFIX + name];
  const { status, signal } = spawnSync(process.execPath, args, { cwd: import.meta.dirname });
  expect(status ?? signal).not.toBe(0);
}

async function listed(): Promise<Map<string, RamFacts>> {
  const { status, stdout, stderr } = await runHere('list', '--json');
  expect([status, stderr]).toEqual([0, '']);
  const all = (JSON.parse(stdout) as RamFacts[]).filter(({ name }) => name.startsWith(PREFIX));
  return new Map(all.map((facts) => [facts.name.slice(PREFIX.length), facts]));
}

test('each is listed with its state, size and memory', async () => {
  const handedOver = await open('handed-over');
  await preserveFile(handedOver, 'session', 1n, new Uint8Array(MIB));
  await handedOver.handOver();
  (await open('empty')).close();
  dead('dead');
  fs.writeFileSync(ramPath(`${PREFIX}other`), 'something else');
  fs.mkdirSync(ramPath(`${PREFIX}directory`));
  const running = await open('running');
  try {
    const all = await listed();
    expect([...all.keys()].sort()).toEqual(['dead', 'directory', 'empty', 'handed-over', 'other', 'running']);
    for (const state of ['dead', 'empty', 'handed-over'] as const)
      expect(all.get(state)).toMatchObject({ state, size: 16 * MIB, generation: 1 });
    expect(all.get('handed-over')?.taken).toBeGreaterThanOrEqual(MIB);
    for (const name of ['other', 'directory']) expect(all.get(name)?.state).toBe('unknown');
    expect(all.get('running')?.path).toBe(running.path);
    const text = (await runHere('list')).stdout;
    expect(text).toMatch(/^NAME +SIZE +TAKEN +STATE$/m);
    expect(text).toMatch(/handed-over +16 MiB +1\.\d+ MiB +handed over by generation 1$/m);
    expect(text).toMatch(
      /dead +16 MiB +\d+ KiB +generation 1 \(pid \d+\) died; 1 session with 1 file preserved are there$/m,
    );
    expect(all.get('dead')).toMatchObject({ end: 'unknown', sessions: 1, files: 1 });
    expect(all.get('running')).not.toHaveProperty('end');
    for (const line of text.split('\n')) expect(line).toBe(line.trimEnd());
  } finally {
    fs.rmdirSync(ramPath(`${PREFIX}directory`));
    running.remove();
  }
});

test('one that another process owns runs, and is not removed', async () => {
  const code = `import { Machine } from '@liveupdate/kexec';
    import { runHere } from './test-cli.ts';
    console.log(JSON.stringify([await runHere('list', '--json'), await runHere('remove', process.argv[1])]));`;
  const machine = await open('owned');
  const args = ['--conditions=@liveupdate/source', '--input-type=module', '-e', code, `${PREFIX}owned`];
  const { stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: import.meta.dirname,
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  const [list, remove] = JSON.parse(stdout) as { status: number; stdout: string; stderr: string }[];
  const facts = (JSON.parse(list.stdout) as RamFacts[]).find(({ name }) => name === `${PREFIX}owned`);
  expect(facts).toMatchObject({ state: 'running', generation: 1, pid: process.pid });
  expect([remove.status, remove.stdout]).toEqual([1, '']);
  expect(remove.stderr).toMatch(
    new RegExp(`^liveupdate: EBUSY: process ${process.pid} .*end it first.*\\n$`),
  );
  expect(fs.existsSync(machine.path ?? '')).toBe(true);
  machine.remove();
});

test('how an owner ended that could say so is said', async () => {
  dead('exit', 'process.exit(3)');
  dead('exception', "throw new Error('as it must')");
  const all = await listed();
  for (const end of ['exit', 'exception'] as const) {
    const { at = 0, ...facts } = all.get(end)!;
    expect(facts).toMatchObject({ state: 'dead', end, sessions: 1, files: 1 });
    expect(Math.abs(Date.now() - at)).toBeLessThan(600_000);
  }
  const text = (await runHere('list')).stdout;
  expect(text).toMatch(/exit +.* exited without handing over; 1 session with 1 file preserved are there$/m);
  expect(text).toMatch(/exception +.* died of an exception; 1 session .*$/m);
});

test('one whose record is damaged is listed all the same', async () => {
  dead('damaged');
  const file = ramPath(`${PREFIX}damaged`);
  const bytes = fs.readFileSync(file);
  bytes.fill(0xff, bytes.indexOf('LIVE-RECORD'), bytes.indexOf('LIVE-RECORD') + 40);
  fs.writeFileSync(file, bytes);
  expect((await runHere('list')).stdout).toMatch(
    /damaged +.* generation 1 \(pid \d+\) died; what it left is damaged: see 'check'$/m,
  );
  expect((await runHere('remove', `${PREFIX}damaged`)).stdout).toMatch(
    /had preserved: what could not be read\n$/,
  );
});

test('one that nobody owns is removed, by name or by path; of a dead one it is said what goes', async () => {
  const machine = await open('a');
  await machine.handOver();
  dead('b');
  for (const [given, more] of [
    [`${PREFIX}a`, ''],
    [
      ramPath(`${PREFIX}b`),
      ', and with it what generation 1 \\(pid \\d+\\) had preserved: 1 session with 1 file',
    ],
  ]) {
    const { status, stdout, stderr } = await runHere('remove', given);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(
      new RegExp(`^removed /dev/shm/liveupdate\\.\\S+: \\d[^,]* of memory given back${more}\\n$`),
    );
  }
  expect((await listed()).size).toBe(0);
});

test('no odd name and no odd file in /dev/shm breaks the list, and none reaches the terminal as it is', async () => {
  const machine = await open('between');
  await machine.handOver();
  const prefix = Buffer.from(`/dev/shm/liveupdate.${PREFIX}`);
  const at = (rest: string | Buffer): Buffer => Buffer.concat([prefix, Buffer.from(rest)]);
  const made: Buffer[] = [];
  const make = (rest: string | Buffer, how: (path: Buffer) => void): void => {
    how(at(rest));
    made.push(at(rest));
  };
  const file = (path: Buffer): void => fs.writeFileSync(path, 'x');
  try {
    make('\x1b[2J\x1b]0;title\x07', file);
    make('new\nline\r', file);
    make('\x9b31m', file);
    make('\u202eright to left', file);
    make(Buffer.of(0xff, 0xfe, 0x80), file);
    make('with space', file);
    make('fifo', (path) => spawnSync('mkfifo', [path.toString()]));
    make('dangling', (path) => fs.symlinkSync('nowhere', path));
    make('to a device', (path) => fs.symlinkSync('/dev/zero', path));
    make('directory', (path) => fs.mkdirSync(path));
    make('unreadable', (path) => fs.writeFileSync(path, 'x', { mode: 0 }));
    make('another user', (path) => {
      file(path);
      if (process.getuid?.() === 0) fs.chownSync(path, 12_345, 12_345);
    });
    made.push(Buffer.from('/dev/shm/liveupdate.'));
    if (!fs.existsSync('/dev/shm/liveupdate.')) fs.writeFileSync('/dev/shm/liveupdate.', '');
    const { status, stdout, stderr } = await runHere('list');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
    expect(stdout).toContain(`${PREFIX}\\u{1b}[2J\\u{1b}]0;title\\u{7} `);
    expect(stdout).toMatch(/^'' +0 B/m);
    const lines = stdout
      .trim()
      .split('\n')
      .filter((line) => line.startsWith(PREFIX));
    expect(lines.length).toBe(made.length); // and the RAM, but not the one without a name
    expect(lines.filter((line) => line.includes('handed over by generation 1')).length).toBe(1);
    const json = await runHere('list', '--json');
    expect(json.stdout).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
    const names = (JSON.parse(json.stdout) as RamFacts[]).map(({ name }) => name);
    for (const name of ['new\nline\r', '\x9b31m', '\u202eright to left', '\x1b[2J\x1b]0;title\x07'])
      expect(names).toContain(PREFIX + name);
    expect((await runHere('inspect', `${PREFIX}with space`)).stderr).toMatch(/^liveupdate: EINVAL: /);
    expect((await runHere('inspect', 'test-nothing')).stderr).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  } finally {
    for (const path of made) fs.rmSync(path, { force: true, recursive: true });
  }
});

test('what is no RAM is left alone', async () => {
  const path = ramPath(`${PREFIX}file`);
  fs.writeFileSync(path, 'something else');
  const refusals: [string, string][] = [
    [`${PREFIX}file`, 'EINVAL'],
    [`${PREFIX}nothing`, 'ENOENT'],
    ['/dev/shm', 'EISDIR'],
    ['/dev/zero', 'EINVAL'],
    ['/proc/self/exe', 'ELOOP'],
  ];
  for (const [given, code] of refusals) {
    const { status, stdout, stderr } = await runHere('remove', given);
    expect([given, status, stdout]).toEqual([given, 1, '']);
    expect(stderr).toMatch(new RegExp(`^liveupdate: ${code}: .*\\n$`));
  }
  expect(fs.readFileSync(path, 'utf8')).toBe('something else');
});
