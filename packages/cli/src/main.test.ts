import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Directory, LINUX_IMAGE, liveupdate, runHere } from './test-cli.ts';

test.each([
  [['nonsense'], "unknown command 'nonsense'", 'liveupdate --help'],
  [['inpsect'], 'Did you mean inspect?', 'liveupdate --help'],
  [['--nonsense'], "unknown option '--nonsense'", 'liveupdate --help'],
  [['help', 'nonsense'], "no command 'nonsense'", 'liveupdate --help'],
  [['inspect'], "missing required argument 'image'", 'liveupdate inspect --help'],
  [['inspect', 'a', 'b'], 'too many arguments', 'liveupdate inspect --help'],
  [['inspect', '--sise', 'x'], "unknown option '--sise'", 'liveupdate inspect --help'],
  [['inspect', '--entry', '0x1000', 'x'], "--entry: '0x1000' is no entry", '0x4d8000,0xf3f0000,48'],
  [['inspect', '--entry', '1,b', 'x'], "--entry: '1,b' is no entry", '0x4d8000,0xf3f0000,48'],
  [['inspect', '--ram-size', 'big', 'x'], "--ram-size: 'big' is no size", '512MiB'],
  [['export', 'x', 'a', 'y'], "'a' names no file", 'service/1'],
  [['import', 'x', 'a/b', 'y'], "'a/b' names no file", 'service/1'],
  [['import', 'x', 'a/1'], "missing required argument 'file'", 'liveupdate import --help'],
  [['doctor', 'extra'], 'too many arguments', 'liveupdate doctor --help'],
  [['demo', '--size', 'abc'], "--size: 'abc' is no size", '512MiB'],
  [['demo', '--size', '0'], "--size: '0' is no size", '512MiB'],
  [['demo', '--size', '-1'], "--size: '-1' is no size", '512MiB'],
  [['demo', '--size'], "'--size <size>' argument missing", 'liveupdate demo --help'],
  [['demo', '--files', '0'], "--files: '0' is no number from 1 up", 'such as 2'],
  [['demo', '--files', '1.5'], "--files: '1.5' is no number from 1 up", 'such as 2'],
  [['demo', '--generations', '1'], "--generations: '1' is no number from 2 up", 'such as 3'],
  [['demo', '--huge', 'maybe'], 'Allowed choices are auto, always, never', 'liveupdate demo --help'],
  [['compat', 'running'], "missing required argument 'to'", 'liveupdate compat --help'],
  [['kernel', 'lst'], "unknown command 'lst'", 'liveupdate kernel --help'],
  [
    ['kernel', 'preserve', 's'],
    "missing required argument 'token=file'",
    'liveupdate kernel preserve --help',
  ],
  [['kernel', 'load'], 'no image is named', 'liveupdate kernel load --help'],
  [['demo', '--size', '1MiB', '--resume'], "unknown option '--resume'", 'liveupdate demo --help'],
])('wrong use: %j', async (args, what, advice) => {
  const { status, stdout, stderr } = await runHere(...args);
  expect(stderr).toMatch(/^liveupdate: [^\n]+\n$/);
  expect(stderr).toContain(what);
  expect(stderr).toContain(advice);
  expect(stdout).toBe('');
  expect(status).toBe(2);
});

test.each([
  [['--help'], ['demo', 'inspect', 'export', 'import', 'doctor']],
  [['help'], ['demo', 'inspect', 'doctor']],
  [
    ['demo', '--help'],
    ['--size', '--files', '--generations', '--huge', '--json', '2GiB'],
  ],
  [
    ['inspect', '--help'],
    ['<image>', '--json', '--hash', '--all', '--entry', '--ram-size'],
  ],
  [
    ['help', 'inspect'],
    ['<image>', '--json', '--hash', '--all', '--entry', '--ram-size'],
  ],
  [
    ['export', '--help'],
    ['<image>', '<session/token>', '<file>', '--force', '--unfinished', '--entry', '--ram-size'],
  ],
  [
    ['import', '--help'],
    ['<ram>', '<session/token>', '<file>', '--size', '--huge'],
  ],
  [
    ['check', '--help'],
    ['<ram>', '--json'],
  ],
  [['doctor', '--help'], ['--json']],
  [
    ['kernel', '--help'],
    ['list', 'preserve', 'retrieve', 'finish', 'load', 'exec'],
  ],
  [
    ['kernel', 'preserve', '--help'],
    ['<session>', '<token=file...>', '--background', '--json'],
  ],
  [['kernel', 'retrieve', '--help'], ['--force']],
  [
    ['kernel', 'load', '--help'],
    ['[image]', '--initrd', '--command-line', '--unload'],
  ],
  [['kernel', 'list', '--help'], ['--json']],
  [['kernel', 'exec', '--help'], ['--force']],
  [
    ['compat', '--help'],
    ['<from>', '<to...>', '--json'],
  ],
  [['kernel', 'finish', '--help'], ['<session>']],
])('help: %j', async (args, words) => {
  const { status, stdout, stderr } = await runHere(...args);
  expect(status).toBe(0);
  expect(stderr).toBe('');
  for (const word of ['Usage:', 'Examples:', 'Exit codes:', ...words]) expect(stdout).toContain(word);
  expect(stdout).not.toContain('--resume');
  expect(stdout).not.toContain('--holder');
  expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
});

test('no command: help, on standard error', () => {
  const { status, stdout, stderr } = liveupdate();
  expect(status).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^Usage: liveupdate/);
});

test('--version is that of the package', () => {
  const manifest = JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(liveupdate('--version')).toEqual({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
});

test('as a process: the exit codes', () => {
  expect(liveupdate('demo', '--size', 'x')).toMatchObject({ status: 2, stdout: '' });
  expect(liveupdate('inspect', '/none')).toMatchObject({ status: 1, stdout: '' });
  expect(liveupdate('inspect', '--help')).toMatchObject({ status: 0, stderr: '' });
});

test('it is the program also through a link', () => {
  using directory = new Directory();
  const link = `${directory.path}/liveupdate.ts`;
  fs.symlinkSync(fileURLToPath(new URL('./main.ts', import.meta.url)), link);
  const { stdout } = spawnSync(process.execPath, ['--conditions=@liveupdate/source', link, '--version'], {
    encoding: 'utf8',
  });
  expect(stdout).toMatch(/^\d+\.\d+\.\d+/);
});

test('a reader that goes away early is no failure', () => {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const command = `"${process.execPath}" --conditions=@liveupdate/source "${main}" inspect --json "${LINUX_IMAGE}" | head -c 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', command], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(stdout).toBe('{0\n');
});
