/**
 * A handover made of files of a disk: it reads as one, and its folder is what QEMU needs. That a
 * real Linux boots from it is shown in apps/interop.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fakeKernel } from '@liveupdate/boot-image/test-kernel';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runHere, type Ran } from './test-cli.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-make-image-'));
  fs.writeFileSync(join(folder, 'bzImage'), fakeKernel());
  fs.writeFileSync(join(folder, 'a=b'), Buffer.alloc(10_000, 7));
  fs.writeFileSync(join(folder, 'empty'), '');
  fs.truncateSync(join(folder, 'empty'), 0);
});
afterAll(() => {
  fs.rmSync(folder, { recursive: true });
});

const make = (to: string, ...args: string[]): Promise<Ran> =>
  runHere('make-image', join(folder, to), '--kernel', join(folder, 'bzImage'), ...args);

test('the files are in the handover, and run.sh has what QEMU needs', async () => {
  const a = join(folder, 'a=b');
  const made = await make(
    'guest',
    '--json',
    ...['--flb', 'roll-v1=0x10', '--flb', 'other-v1=7'],
    ...[`vm/1=${a}`, `two words/0x2=${join(folder, 'empty')}`, `vm/18446744073709551615=${a}`],
  );
  expect(made).toMatchObject({ status: 0, stderr: '' });
  const { entry, memory, command } = JSON.parse(made.stdout) as {
    entry: { fdtAddr: number; scratchAddr: number };
    memory: number;
    command: string[];
  };
  const path = join(folder, 'guest', 'memory');
  expect(fs.statSync(path).size).toBe(memory);
  const at = `${entry.fdtAddr},${entry.scratchAddr}`;
  const { stdout } = await runHere('inspect', path, '--entry', at, '--json');
  const { sessions, flbs } = JSON.parse(stdout) as {
    sessions: { name: string; files: { token: string; sha256: string }[] }[];
    flbs: object[];
  };
  const sha256 = createHash('sha256').update(fs.readFileSync(a)).digest('hex');
  expect(sessions.map(({ name, files }) => [name, files.map(({ token }) => token)])).toEqual([
    ['vm', ['1', '18446744073709551615']],
    ['two words', ['2']],
  ]);
  expect(sessions[0].files[0].sha256).toBe(sha256);
  expect(JSON.stringify(flbs)).toContain('roll-v1');
  const script = fs.readFileSync(join(folder, 'guest', 'run.sh'), 'utf8');
  expect(script).toContain(`mem-path=${path},share=off`);
  expect(command).toContain(join(folder, 'guest', 'kernel'));
  expect(fs.statSync(join(folder, 'guest', 'run.sh')).mode & 0o111).toBe(0o111);
});

test('it says what it made and how to boot that', async () => {
  const { status, stdout } = await make('told', '--huge', `vm/1=${join(folder, 'a=b')}`);
  expect(status).toBe(0);
  expect(stdout).toMatch(
    /^1 file in 1 session, 9.77 KiB, for a PC of 513 MiB\nboot 9\.9\.9-test .* with: .*run\.sh/,
  );
});

test.each([
  ['vm=x', 2, /names no file: write session\/token/],
  ['vm/1', 2, /names no file of a disk: write session\/token=file/],
  ['vm/1=', 2, /names no file of a disk/],
  ['vm/1=/no/such', 1, /ENOENT: there is no file '\/no\/such'/],
  ['vm/1=/dev/null', 1, /EINVAL: '\/dev\/null' is no regular file/],
])('%s is refused, and nothing is made', async (file, code, message) => {
  const { status, stdout, stderr } = await make('refused', file);
  expect([status, stdout]).toEqual([code, '']);
  expect(stderr).toMatch(message);
  expect(fs.existsSync(join(folder, 'refused'))).toBe(false);
});

test('so are options that are wrong', async () => {
  const a = join(folder, 'a=b');
  const rows: [RegExp, ...string[]][] = [
    [/--flb: 'x' is no FLB: write name=data/, '--flb', 'x', `vm/1=${a}`],
    [/vm\/1 is there twice/, `vm/1=${a}`, `vm/1=${a}`],
    [/whole MiB of memory|256 MiB at least/, '--memory', '513KiB', `vm/1=${a}`],
    [/--memory: Linux needs 256 MiB at least/, '--memory', '64MiB', `vm/1=${a}`],
  ];
  for (const [message, ...args] of rows) expect((await make('wrong', ...args)).stderr).toMatch(message);
  const noKernel = await runHere('make-image', join(folder, 'x'), '--kernel', a, `vm/1=${a}`);
  expect(noKernel).toMatchObject({ status: 1 });
  expect(noKernel.stderr).toMatch(/EINVAL: this is no bzImage/);
  // Its size is 0 until it is read.
  expect((await make('changed', 'vm/1=/proc/cpuinfo')).stderr).toMatch(
    /EAGAIN: .* changed while it was read/,
  );
  expect((await make('no/such', `vm/1=${a}`)).stderr).toMatch(/ENOENT/);
  expect(fs.readdirSync(folder).sort()).not.toContain('changed');
  const there = await make('.', `vm/1=${a}`);
  expect(there.stderr).toMatch(/EEXIST: .* is there already/);
});
