/** What a kexec starts, what goes along, and what is refused before anything is sealed. */
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { get } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { codeOf } from '@liveupdate/base';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { nextProgram, type KexecOptions } from './next-program.ts';
import { Program, removeRam, testName } from './test-process.ts';

let name: string;
beforeEach(() => {
  name = testName();
  onTestFinished(() => {
    removeRam(name);
  });
});

function codeFrom(work: () => unknown): string {
  try {
    work();
    return 'nothing';
  } catch (error) {
    return codeOf(error);
  }
}

/**
 * Node's own arguments and options as they would be if it had been started with them, until the
 * test ends.
 */
function startedWith(execArgv: string[], nodeOptions = ''): void {
  const before = process.execArgv;
  process.execArgv = execArgv;
  onTestFinished(() => {
    process.execArgv = before;
  });
  env = { NODE_OPTIONS: nodeOptions };
}

function inDirectory(path: string): void {
  const before = process.cwd();
  process.chdir(path);
  onTestFinished(() => {
    process.chdir(before);
  });
}

let env: Record<string, string> = {};

describe('what depends on the working directory', () => {
  const relative: [execArgv: string[], nodeOptions?: string][] = [
    [['--env-file=.env']],
    [['--env-file', 'conf/.env']],
    [['--env-file-if-exists=../.env']],
    [['--no-warnings', '--import', './hook.mjs']],
    [['--import=tsx']],
    [['-r', './hook.cjs']],
    [['--require=dotenv/config']],
    [['--experimental-loader', './loader.mjs']],
    [[], '--max-old-space-size=100 --import ./hook.mjs'],
    [[], '--require=./hook.cjs'],
  ];
  const absolute: typeof relative = [
    [[]],
    [['--no-warnings', '--enable-source-maps', '-e', 'x']],
    [['--env-file=/etc/service.env']],
    [['--import', '/srv/hook.mjs'], '-r /srv/hook.cjs'],
    [['--import=file:///srv/hook.mjs']],
    [['--import=data:text/javascript,0', '--import', 'node:fs']],
  ];

  it.each(relative)('%j %s is refused in another one, and only there', (execArgv, nodeOptions) => {
    startedWith(execArgv, nodeOptions);
    nextProgram(undefined, { env });
    inDirectory('/');
    expect(codeFrom(() => nextProgram(undefined, { env }))).toBe('EINVAL');
    expect(codeFrom(() => nextProgram(['x.js'], { env }))).toBe(nodeOptions ? 'EINVAL' : 'nothing');
  });

  it.each(absolute)('%j %s is not', (execArgv, nodeOptions) => {
    startedWith(execArgv, nodeOptions);
    inDirectory('/');
    expect(nextProgram(undefined, { env }).args.slice(1, 1 + execArgv.length)).toEqual(execArgv);
  });

  it('a directory that was removed is another one', () => {
    const path = fs.mkdtempSync('/tmp/liveupdate-test-');
    inDirectory(path);
    fs.rmdirSync(path);
    expect(codeFrom(() => nextProgram(['x.js'], {}))).toBe('nothing');
    startedWith(['--env-file=.env']);
    expect(codeFrom(() => nextProgram(undefined, { env }))).toBe('EINVAL');
  });
});

describe('options', () => {
  // As a program in JavaScript may pass them.
  it.each<[string, unknown, unknown, string]>([
    ['arguments that are text', 'x.js', {}, 'EINVAL'],
    ['arguments that are numbers', [1], {}, 'EINVAL'],
    ['an argument with a NUL', ['a\0b'], {}, 'EINVAL'],
    ['no options', [], null, 'EINVAL'],
    ['an option that does not exist', [], { keepfds: [] }, 'EINVAL'],
    ['no program', [], { file: '' }, 'EINVAL'],
    ['a program that is a number', [], { file: 1 }, 'EINVAL'],
    ['an environment that is text', [], { env: 'A=1' }, 'EINVAL'],
    ['a variable that is a number', [], { env: { A: 1 } }, 'EINVAL'],
    ['descriptors that are none', [], { keepFds: 3 }, 'EINVAL'],
    ['a negative descriptor', [], { keepFds: [-1] }, 'EINVAL'],
    ['half a descriptor', [], { keepFds: [3.5] }, 'EINVAL'],
    ['a descriptor that is text', [], { keepFds: ['3'] }, 'EINVAL'],
    ['a descriptor that is not open', [], { keepFds: [99_999] }, 'EBADF'],
    ['nothing special', undefined, { env: { A: undefined }, keepFds: [0, 1] }, 'nothing'],
  ])('%s', (_, argv, options, code) => {
    expect(codeFrom(() => nextProgram(argv as string[], options as KexecOptions))).toBe(code);
  });
});

/**
 * A service on descriptor 3 that answers with its generation, and is replaced when it is told so.
 */
const SERVICE = (options: string): string => `
import { createServer } from 'node:http';
const machine = await Machine.open({ name: NAME, size: '8MiB' });
const server = createServer((request, response) => {
  response.setHeader('connection', 'close');
  response.end(machine.generation + ' ' + process.pid, () => {
    if (request.url === '/next') void machine.kexec(undefined, ${options}).catch((error) => say(error.message));
    if (request.url === '/end') (machine.remove(), server.close());
  });
});
server.listen({ fd: 3 });
`;

async function ask(port: number, path = '/'): Promise<string> {
  const [response] = (await once(get({ port, path, agent: false }), 'response')) as [AsyncIterable<Buffer>];
  let body = '';
  for await (const part of response) body += String(part);
  return body;
}

describe('a listening socket', () => {
  it.each([
    ['that systemd passed comes through', '{}', 'LISTEN_PID=$$ LISTEN_FDS=2 exec "$@"'],
    ['that is kept comes through', '{ keepFds: [3] }', 'exec "$@"'],
  ])('%s: no connection is refused', async (_, options, shell) => {
    const listener = createServer();
    listener.listen(0);
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    const { fd } = (listener as unknown as { _handle: { fd: number } })._handle;
    using program = new Program(SERVICE(options));
    const ended = program.runBeside(name, { fd, shell });
    listener.close(); // the program has it, and nobody else accepts
    const answers: string[] = [];
    for (const path of ['/next', '/next', '/', '/end']) answers.push(await ask(port, path));
    const { lines, status, pid } = await ended;
    expect(answers).toEqual([1, 2, 3, 3].map((generation) => `${generation} ${pid}`));
    expect([lines, status]).toEqual([[], 0]);
  });
});

describe('a child with a channel', () => {
  it('that fork made is replaced and lives on; its parent sees the channel end', async () => {
    using program = new Program(`
      const machine = await Machine.open({ name: NAME, size: '8MiB' });
      if (machine.generation === 1) process.send('up');
      if (machine.generation < 3) await machine.kexec();
      say(machine.generation, process.pid, process.send === undefined);
      machine.remove();
      process.exitCode = 7;`);
    const [file, args, options] = program.command(name);
    const child = fork(args.at(-1) ?? '', [], {
      execPath: file,
      execArgv: args.slice(0, -1),
      cwd: options.cwd,
      env: options.env,
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    });
    const seen: unknown[] = [];
    child.on('message', (message) => seen.push(message));
    child.once('disconnect', () => seen.push('disconnect'));
    child.stdout?.on('data', (data: Buffer) => seen.push(data.toString()));
    const [status] = (await once(child, 'close')) as [number];
    expect([status, seen]).toEqual([7, ['up', 'disconnect', `3 ${child.pid ?? 0} true\n`]]);
  });

  it('that is a worker of a cluster is told what to do, before anything is sealed; and it can be done', async () => {
    using program = new Program(`
      import cluster from 'node:cluster';
      if (cluster.isPrimary) {
        for (let i = 0; i < 2; i++) await new Promise((resolve) => cluster.fork().once('exit', resolve));
      } else {
        const machine = await Machine.open({ name: NAME, size: '8MiB' });
        const error = await machine.kexec().catch((error) => error);
        say(machine.generation, machine.origin, error.code, error.message.includes('handOver()'), machine.kernel.luo.state);
        cluster.worker.disconnect();
        say(await machine.kexec().catch(codeOf));
        await machine.handOver();
        process.exit();
      }`);
    const { lines } = await program.runBeside(name);
    expect(lines).toEqual([
      '1 cold EOPNOTSUPP true running',
      'EOPNOTSUPP',
      '2 handover EOPNOTSUPP true running',
      'EOPNOTSUPP',
    ]);
  });
});

describe('a release behind a symbolic link', () => {
  it('is the one that the link names at the kexec, the program and its Node', async () => {
    using program = new Program(`
      export const run = async (release) => {
        const machine = await Machine.open({ name: NAME, size: '8MiB' });
        say(machine.generation, release, process.env.NODE_RELEASE);
        if (machine.generation === 3) return machine.remove();
        const fs = process.getBuiltinModule('node:fs');
        fs.symlinkSync('release-' + (machine.generation + 1), process.env.CURRENT + '.new');
        fs.renameSync(process.env.CURRENT + '.new', process.env.CURRENT);
        await machine.kexec();
      };`);
    const folder = `${program.path}.releases`;
    fs.mkdirSync(folder);
    onTestFinished(() => {
      fs.rmSync(folder, { recursive: true });
    });
    for (const release of ['release-1', 'release-2', 'release-3']) {
      fs.mkdirSync(`${folder}/${release}`);
      const code = `import { run } from ${JSON.stringify(program.path)}; await run('${release}');`;
      fs.writeFileSync(`${folder}/${release}/app.mjs`, code);
    }
    // The first one is this Node; from the next on what stands in its place tells which it is.
    fs.symlinkSync(process.execPath, `${folder}/release-1/node`);
    for (const release of ['release-2', 'release-3'])
      fs.writeFileSync(
        `${folder}/${release}/node`,
        `#!/bin/sh\nNODE_RELEASE=${release} exec ${process.execPath} "$@"\n`,
        { mode: 0o755 },
      );
    fs.symlinkSync('release-1', `${folder}/current`);
    const [, args, options] = program.command(name);
    const child = spawn(`${folder}/current/node`, [...args.slice(0, -1), `${folder}/current/app.mjs`], {
      ...options,
      env: { ...options.env, CURRENT: `${folder}/current` },
    });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    await once(child, 'close');
    expect(output).toBe('1 release-1 \n2 release-2 release-2\n3 release-3 release-2\n');
  });
});
