import * as fs from 'node:fs';
import { expect, test } from 'vitest';
import { tryLock } from './locks.ts';
import { MappedRam } from './mapped-ram.ts';
import { inheritedFd, monotonicNow } from './process.ts';
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

/** Tries replacements that must be refused, one after the other in one process: it goes on as it was. */
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

const REFUSED: [what: string, options: string, code: string][] = [
  ['no such program', `{ file: '/nonexistent/program', ${SELF} }`, 'ENOENT'],
  ['a path through a file', `{ file: '/etc/passwd/x', ${SELF} }`, 'ENOTDIR'],
  ['a directory', `{ file: '/tmp', ${SELF} }`, 'EISDIR'],
  ['a device', `{ file: '/dev/null', ${SELF} }`, 'EACCES'],
  ['a file that is not executable', `{ file: '/etc/passwd', ${SELF} }`, 'EACCES'],
  ['no arguments', `{ args: [] }`, 'EINVAL'],
  ['a NUL in an argument', `{ args: ['a\\0b'] }`, 'EINVAL'],
  ['a NUL in the environment', `{ ${SELF}, env: { A: 'a\\0b' } }`, 'EINVAL'],
  ['a string of 128 KiB', `{ ${SELF}, env: { A: 'x'.repeat(131072 - 2) } }`, 'E2BIG'],
  ['7 MiB of arguments', `{ args: Array.from({ length: 70 }, () => 'x'.repeat(100000)) }`, 'E2BIG'],
  ['a closed descriptor', `{ ${SELF}, keepFds: [ram.fd, 9999] }`, 'EBADF'],
];

test('what the kernel would refuse is refused before anything is changed', () => {
  const codes = refusals(REFUSED.map(([, options]) => options));
  const restored = true;
  expect(codes.map((refusal, i) => [REFUSED[i]?.[0], refusal])).toEqual(
    REFUSED.map(([what, , code]) => [what, { code, restored }]),
  );
});

test('a file that is neither a program nor a script is refused', () => {
  const path = fs.mkdtempSync('/tmp/liveupdate-test-') + '/x';
  fs.writeFileSync(path, 'hello', { mode: 0o755 });
  expect(refusals([`{ file: '${path}', ${SELF} }`])).toEqual([{ code: 'EINVAL', restored: true }]);
  fs.writeFileSync(path, '#!/bin/sh\necho "script $1"\n');
  expect(runChild(`${IMPORTS} replaceProcess({ file: '${path}', args: ['x', 'runs'] });`).stdout).toBe(
    'script runs\n',
  );
  fs.rmSync(path.slice(0, -2), { recursive: true });
});

test('what passes the check of lengths passes the kernel', () => {
  const code = `${IMPORTS}
    const args = ['x', 'x'.repeat(131071)];
    replaceProcess({ file: '/bin/true', args, env: { A: 'x'.repeat(131072 - 3) } });`;
  expect(runChild(code)).toMatchObject({ status: 0, signal: null, stderr: '' });
});

test('a Node without process.execve is told which one to use', () => {
  const old = `Object.defineProperty(process, 'execve', { value: undefined });`;
  expect(refusals([`{ ${SELF} }`], old)).toEqual([{ code: 'ENOSYS', restored: true }]);
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
