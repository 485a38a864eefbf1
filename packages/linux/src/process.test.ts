import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { closesOnExec } from './libc.ts';
import { tryLock } from './locks.ts';
import { MappedRam } from './mapped-ram.ts';
import { inheritedFd, monotonicNow, replaceProcess } from './process.ts';
import { Child, runChild } from './test-child.ts';
import { codeOfThrown } from './test-thrown.ts';

const IMPORTS = `
  import { nodeArgs } from './src/test-child.ts';
  import * as linux from './src/index.ts';
  const { replaceProcess, MappedRam, inheritedFd, monotonicNow, drainOutput } = linux;`;

interface Refusal {
  code: string;
  /** Whether the descriptor to keep is close-on-exec again. */
  restored: boolean;
}

/**
 * Tries replacements that must be refused, one after the other in one process: it goes on as it
 * was.
 */
function refusals(options: string[], before = ''): Refusal[] {
  const code = `${IMPORTS}
    import { closesOnExec } from './src/libc.ts';
    const ram = MappedRam.anonymous({ name: 'x', size: 8192 });
    ${before}
    const attempts = [${options.map((text) => `() => (${text})`).join()}];
    console.log(JSON.stringify(attempts.map((options) => {
      try { replaceProcess(options()); } catch (error) { return { code: error.code, restored: closesOnExec(ram.fd) }; }
    })));`;
  const { stdout, stderr } = runChild(code);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Refusal[];
}

test('the new program has the pid, the arguments, the environment, the RAM, and a later time', () => {
  const code = `${IMPORTS}
    const fd = inheritedFd('RAM_FD');
    if (fd === undefined) {
      const ram = MappedRam.anonymous({ name: 'x', size: 8 * 2 ** 30 });
      ram.bytes(7 * 2 ** 30, 1)[0] = 99;
      const env = { ...process.env, RAM_FD: String(ram.fd), PID: String(process.pid), THEN: String(monotonicNow()), GONE: undefined };
      replaceProcess({ args: [process.execPath, ...nodeArgs(process.env.CHILD_CODE), 'one', 'two'], env, keepFds: [ram.fd] });
    }
    const ram = MappedRam.fromFd(fd);
    const { PID, THEN, GONE } = process.env;
    const passed = monotonicNow() - BigInt(THEN);
    console.log(process.argv.slice(-2).join(), ram.size, ram.bytes(7 * 2 ** 30, 1)[0], PID === String(process.pid), GONE);
    console.log(passed > 0n && passed < 60_000_000_000n);`;
  const { stdout, stderr } = runChild(code, { CHILD_CODE: code, GONE: 'x' });
  expect(stderr).toBe('');
  expect(stdout).toBe(`one,two ${8 * 2 ** 30} 99 true undefined\ntrue\n`);
});

test('a service that replaces itself in a signal handler gets its signals in every generation', async () => {
  const code = `${IMPORTS}
    const generation = Number(process.env.GENERATION ?? 1);
    const next = () => replaceProcess({
      args: [process.execPath, ...nodeArgs(process.env.CHILD_CODE)],
      env: { ...process.env, GENERATION: String(generation + 1) },
    });
    process.on('SIGUSR2', next).on('SIGTERM', next);
    setInterval(() => {}, 1000);
    console.log('generation', generation);`;
  await using service = new Child(code);
  for (let generation = 1; generation <= 4; generation++) {
    expect(await service.line()).toBe(`generation ${generation}`);
    service.signal(generation % 2 === 0 ? 'SIGTERM' : 'SIGUSR2');
  }
  expect(await service.line()).toBe('generation 5');
});

test('a profiler that interrupts the old program does not end the new one, and goes on where there is none', () => {
  const code = `${IMPORTS}
    import { Session } from 'node:inspector/promises';
    const generation = Number(process.env.GENERATION ?? 1);
    const session = new Session();
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: 10 });
    await session.post('Profiler.start');
    const env = { ...process.env, GENERATION: String(generation + 1) };
    if (generation === 1) {
      try { replaceProcess({ file: '/etc/passwd', args: ['x'], env }); } catch (error) { console.log(error.code); }
      for (const end = Date.now() + 50; Date.now() < end;);
      const { profile } = await session.post('Profiler.stop');
      console.log(profile.samples.length > 10);
      await session.post('Profiler.start');
      await drainOutput();
    }
    if (generation < 8) replaceProcess({ args: [process.execPath, ...nodeArgs(process.env.CHILD_CODE)], env });
    console.log('generation', generation);`;
  const { stdout, stderr, signal } = runChild(code, { CHILD_CODE: code });
  const good = { stdout: 'EACCES\ntrue\ngeneration 8\n', stderr: '', signal: null };
  expect({ stdout, stderr, signal }).toEqual(good);
});

test('a signal before the new generation handles it ends the process; the RAM is whole, and free for whoever comes next', async () => {
  const path = `/dev/shm/liveupdate-test-process-${process.pid}.ram`;
  const code = `${IMPORTS}
    if (process.env.GENERATION === '2') {
      console.log('started');
      setInterval(() => {}, 1000);
    } else {
      const ram = MappedRam.create({ path: process.env.RAM_PATH, size: 8192 });
      linux.tryLock(ram.fd);
      ram.bytes(4096, 1)[0] = 7;
      process.on('SIGUSR2', () => {}); // handlers do not go through exec
      replaceProcess({
        args: [process.execPath, ...nodeArgs(process.env.CHILD_CODE)],
        env: { ...process.env, GENERATION: '2' },
        keepFds: [ram.fd],
      });
    }`;
  await using child = new Child(code, { RAM_PATH: path });
  expect(await child.line()).toBe('started');
  child.signal('SIGUSR2');
  expect(await child.ended()).toBe('SIGUSR2');
  using ram = MappedRam.open({ path });
  fs.unlinkSync(path);
  expect(tryLock(ram.fd)).toBe(true);
  expect(ram.bytes(4096, 1)[0]).toBe(7);
});

const SELF = 'args: [process.execPath]';

/** Files that are no programs, each for a reason of its own. */
const BAD_FILES = `
    const fs = process.getBuiltinModule('node:fs');
    const dir = fs.mkdtempSync('/tmp/liveupdate-test-');
    process.on('exit', () => fs.rmSync(dir, { recursive: true }));
    const file = (name, content, mode = 0o755) => (fs.writeFileSync(dir + '/' + name, content, { mode }), dir + '/' + name);
    const node = fs.readFileSync(process.execPath).subarray(0, 4096);
    const elf = fs.readFileSync('/bin/true');
    const patched = (name, change) => { const bytes = Buffer.from(elf); change(bytes); return file(name, bytes); };
    const interp = elf.indexOf('/lib');
    const writer = fs.openSync(file('busy', elf), 'r+');
    fs.symlinkSync(dir + '/loop', dir + '/loop');
    for (let i = 0, before = '/bin/true'; i < 9; i++) before = file('script' + i, '#!' + before + '\\n');
    process.chdir(dir); // a loader's name that is short enough to be written over another is relative
    const cut = file('cut', elf.subarray(0, elf.length / 2));
    file('loader-cut', fs.readFileSync(elf.toString('latin1', interp, elf.indexOf(0, interp))).subarray(0, 65536));`;

const REFUSED: [what: string, options: string, code: string][] = [
  ['no such program', `{ file: '/nonexistent/program', ${SELF} }`, 'ENOENT'],
  ['a path through a file', `{ file: '/etc/passwd/x', ${SELF} }`, 'ENOTDIR'],
  ['a path that is too long', `{ file: '/' + 'x'.repeat(300), ${SELF} }`, 'ENAMETOOLONG'],
  ['a directory', `{ file: '/tmp', ${SELF} }`, 'EACCES'],
  ['a device', `{ file: '/dev/null', ${SELF} }`, 'EACCES'],
  ['a file that is not executable', `{ file: file('plain', elf, 0o644), ${SELF} }`, 'EACCES'],
  ['a symbolic link to itself', `{ file: dir + '/loop', ${SELF} }`, 'ELOOP'],
  ['an empty file', `{ file: file('empty', ''), ${SELF} }`, 'ENOEXEC'],
  ['a text', `{ file: file('text', 'hello'), ${SELF} }`, 'ENOEXEC'],
  ['a program that is open for writing', `{ file: dir + '/busy', ${SELF} }`, 'ETXTBSY'],
  [
    'a script that is open for writing',
    `{ file: (fs.openSync(file('busy.sh', '#!/bin/sh'), 'a'), dir + '/busy.sh'), ${SELF} }`,
    'ETXTBSY',
  ],
  [
    'a script without its interpreter',
    `{ file: file('no.sh', '#! /no/such/interpreter -x'), ${SELF} }`,
    'ENOENT',
  ],
  ['a script that a text runs', `{ file: file('text.sh', '#!' + dir + '/text'), ${SELF} }`, 'ENOEXEC'],
  ['scripts run by scripts, too many', `{ file: dir + '/script8', ${SELF} }`, 'ELOOP'],
  [
    'a program without its loader',
    `{ file: patched('no-loader', (b) => b.write('/lob', interp, 'latin1')), ${SELF} }`,
    'ENOENT',
  ],
  [
    'a program whose loader is none',
    `{ file: (file('none', Buffer.alloc(4096, 32)), patched('bad-loader', (b) => b.write('none\\0', interp, 'latin1'))), ${SELF} }`,
    'ELIBBAD',
  ],
  [
    'a program for another machine',
    `{ file: patched('other', (b) => b.writeUInt16LE(8, 18)), ${SELF} }`,
    'ENOEXEC',
  ],
  ['a core file', `{ file: patched('core', (b) => b.writeUInt16LE(4, 16)), ${SELF} }`, 'ENOEXEC'],
  ['half a program', `{ file: cut, ${SELF} }`, 'ENOEXEC'],
  ['the first page of a program', `{ file: file('page', node), ${SELF} }`, 'ENOEXEC'],
  ['a script that half a program runs', `{ file: file('cut.sh', '#!' + cut), ${SELF} }`, 'ENOEXEC'],
  [
    'a script that such a script runs',
    `{ file: file('cut2.sh', '#!\t' + dir + '/cut.sh x'), ${SELF} }`,
    'ENOEXEC',
  ],
  [
    'a program whose loader is cut short',
    `{ file: (patched('cut-loader', (b) => b.write('loader-cut\\0', interp, 'latin1'))), ${SELF} }`,
    'ENOEXEC',
  ],
  ['no arguments', `{ args: [] }`, 'EINVAL'],
  ['a NUL in an argument', `{ args: ['a\\0b'] }`, 'EINVAL'],
  ['a NUL in the environment', `{ ${SELF}, env: { A: 'a\\0b' } }`, 'EINVAL'],
  ['a NUL in a name of the environment', `{ ${SELF}, env: { 'A\\0': 'b' } }`, 'EINVAL'],
  ['a NUL in the path', `{ file: '/bin/true\\0x', ${SELF} }`, 'EINVAL'],
  ['one variable of 128 KiB', `{ ${SELF}, env: { A: 'x'.repeat(131072 - 2) } }`, 'E2BIG'],
  ['one argument of 128 KiB', `{ args: ['x'.repeat(131072)] }`, 'E2BIG'],
  ['7 MiB of arguments', `{ args: Array.from({ length: 70 }, () => 'x'.repeat(100000)) }`, 'E2BIG'],
  ['a closed descriptor', `{ ${SELF}, keepFds: [ram.fd, 9999] }`, 'EBADF'],
  ['no descriptor', `{ ${SELF}, keepFds: [ram.fd, 99_999] }`, 'EBADF'],
  ['nothing that could be one', `{ ${SELF}, keepFds: [ram.fd, -1] }`, 'EINVAL'],
];

test('a refused replacement is an error, whatever refuses it, and everything is as before', () => {
  const codes = refusals(
    REFUSED.map(([, options]) => options),
    BAD_FILES,
  );
  const restored = true;
  expect(codes.map((refusal, i) => [REFUSED[i]?.[0], refusal])).toEqual(
    REFUSED.map(([what, , code]) => [what, { code, restored }]),
  );
});

test.skipIf(process.getuid?.() !== 0)('a program on a file system that is mounted noexec is refused', () => {
  const mount = `${BAD_FILES}
    const { execFileSync } = process.getBuiltinModule('node:child_process');
    fs.mkdirSync(dir + '/m');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'noexec', 'none', dir + '/m']);
    process.prependListener('exit', () => execFileSync('umount', [dir + '/m']));`;
  expect(refusals([`{ file: file('m/program', elf), ${SELF} }`], mount)).toEqual([
    { code: 'EACCES', restored: true },
  ]);
});

test('a script runs, and standard output goes with it', () => {
  const path = fs.mkdtempSync('/tmp/liveupdate-test-') + '/x';
  fs.writeFileSync(path, '#!/bin/sh\necho "script $1"\n', { mode: 0o755 });
  expect(runChild(`${IMPORTS} replaceProcess({ file: '${path}', args: ['x', 'runs'] });`).stdout).toBe(
    'script runs\n',
  );
  fs.rmSync(path.slice(0, -2), { recursive: true });
});

test('the longest strings that the kernel takes, of any characters, arrive', () => {
  const code = `${IMPORTS}
    const args = ['x', '-c', 'printf "%s %s" "$B" "\${#A} \${#0}"', 'x'.repeat(131071)];
    replaceProcess({ file: '/bin/sh', args, env: { A: 'x'.repeat(131072 - 3), B: 'ü😀 =' } });`;
  expect(runChild(code)).toMatchObject({ stdout: 'ü😀 = 131069 131071', signal: null, stderr: '' });
});

test('listeners are told at the last moment; one that throws calls it off', () => {
  const code = `${IMPORTS}
    const { BEFORE_REPLACE_EVENT } = linux;
    process.once(BEFORE_REPLACE_EVENT, () => { throw new Error('not now'); });
    const attempt = () => replaceProcess({ file: '/bin/sh', args: ['sh', '-c', 'echo "$A $B"'], env: { A: '1' } });
    try { attempt(); } catch (error) { fs.writeSync(1, error.message + '\\n'); }
    process.on(BEFORE_REPLACE_EVENT, (env) => { env.B = '2'; });
    attempt();`;
  expect(runChild(`import * as fs from 'node:fs'; ${code}`)).toMatchObject({
    stdout: 'not now\n1 2\n',
    stderr: '',
  });
});

test('a worker thread cannot replace the process', () => {
  const code = `
    import { Worker } from 'node:worker_threads';
    const url = new URL('./src/process.ts', 'file://' + process.cwd() + '/').href;
    new Worker(\`import(\${JSON.stringify(url)}).then(({ replaceProcess }) => {
      try { replaceProcess({ args: ['x'] }); } catch (error) { console.log(error.code); }
    })\`, { eval: true });`;
  expect(runChild(code).stdout).toBe('EPERM\n');
});

test('waiting output is not lost silently', async () => {
  const code = `${IMPORTS}
    const attempt = (options) => replaceProcess({ file: '/bin/echo', args: ['echo', 'replaced'], ...options });
    process.stdout.write('x'.repeat(1_000_000) + '\\n');
    let code;
    try { attempt(); } catch (error) { code = error.code; }
    await drainOutput();
    console.log(code);
    await drainOutput();
    attempt();`;
  await using child = new Child(code);
  expect((await child.line())?.length).toBe(1_000_000);
  expect(await child.line()).toBe('EAGAIN');
  expect(await child.line()).toBe('replaced');
});

test('an inherited descriptor is checked', () => {
  expect(inheritedFd('X', {})).toBeUndefined();
  expect(inheritedFd('X', { X: '' })).toBeUndefined();
  expect(inheritedFd('X', { X: '0' })).toBe(0);
  for (const text of ['-1', '1.5', 'x', '0x10', ' 1', '99999999999']) {
    expect(codeOfThrown(() => inheritedFd('X', { X: text }))).toBe('EINVAL');
  }
  expect(codeOfThrown(() => inheritedFd('X', { X: '9999' }))).toBe('EBADF');
});

test('time goes on', () => {
  const then = monotonicNow();
  expect(monotonicNow()).toBeGreaterThanOrEqual(then);
});

test('after an exec that the kernel refuses, descriptors close on exec again, in this process too', () => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-'));
  const file = join(directory, 'busy');
  fs.copyFileSync('/bin/true', file);
  const writer = fs.openSync(file, 'r+'); // only the kernel knows that
  const fd = fs.openSync(import.meta.filename, 'r');
  try {
    expect(closesOnExec(fd)).toBe(true);
    expect(
      codeOfThrown(() => replaceProcess({ file, args: [file], keepFds: [fd], discardOutput: true })),
    ).toBe('ETXTBSY');
    expect(closesOnExec(fd)).toBe(true);
  } finally {
    fs.closeSync(fd);
    fs.closeSync(writer);
    fs.rmSync(directory, { recursive: true });
  }
});
