import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import { expect, test } from 'vitest';
import { judge, type Side } from './compat-formats.ts';
import { Directory, LINUX_IMAGE, liveupdate, newMachine, preserveFile, runHere } from './test-cli.ts';
import { testBzImage, testKernel } from './test-kernel-image.ts';

/** What Linux 7.3 of the fixture knows. */
const FILES = ['memfd-v2', 'liveupdate-test-flb-v0', 'liveupdate-test-flb-v1', 'liveupdate-test-flb-v2'];
const kernel = (names: Parameters<typeof testKernel>[0] = {}): Buffer =>
  testBzImage(zlib.gzipSync(testKernel({ files: FILES, ...names })));

/** A program beside the packages that it uses. */
class Program implements Disposable {
  readonly path = fileURLToPath(new URL(`../.readme-compat-${process.pid}.ts`, import.meta.url));

  constructor(source: string) {
    fs.writeFileSync(this.path, source);
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.path);
  }
}

test('two kernels that are alike fit, and two that differ do not: it says what is lost', async () => {
  using directory = new Directory();
  const old = directory.write('old', kernel());
  const next = directory.write('new', kernel({ files: ['memfd-v3', ...FILES.slice(1)] }));
  const same = await runHere('compat', old, old);
  expect(same).toMatchObject({ status: 0, stderr: '' });
  expect(same.stdout).toContain('It fits: ');
  const differ = await runHere('compat', old, next);
  expect(differ).toMatchObject({ status: 1, stderr: '' });
  expect(differ.stdout).toMatch(/memfd-v2 +NOT READ: all sessions, as soon as one such file/);
  expect(differ.stdout).toMatch(/memfd-v3 +read, and not written/);
  expect(differ.stdout).toContain('does not read memfd-v2.');
  const json = JSON.parse((await runHere('compat', '--json', old, next)).stdout) as unknown;
  expect(json).toMatchObject({
    fits: false,
    from: { kind: 'kernel' },
    rows: expect.arrayContaining([
      expect.objectContaining({ name: 'memfd-v2', isRead: false, matters: true }),
      expect.objectContaining({ name: 'kho-v4', isRead: true, matters: false, lost: '' }),
    ]) as unknown,
    onlyRead: [{ role: 'file', name: 'memfd-v3' }],
  });
});

test.each([
  ['another handover', { kho: 'kho-v5' }, /kho-v4 +NOT READ: all of it: the new kernel boots cold/],
  ['another orchestrator', { luo: 'luo-v6' }, /luo-v5 +NOT READ: the machine: the new kernel panics/],
  ['no live updates', { kho: '' }, /takes no handover, so all is lost/],
])('a new kernel with %s', async (_, names, says) => {
  using directory = new Directory();
  const { status, stdout } = await runHere(
    'compat',
    directory.write('old', kernel()),
    directory.write('new', kernel(names)),
  );
  expect([status, stdout]).toEqual([1, expect.stringMatching(says)]);
});

test('a kernel without live updates loses nothing', async () => {
  using directory = new Directory();
  const { status, stdout } = await runHere(
    'compat',
    directory.write('old', kernel({ kho: '' })),
    directory.write('new', kernel()),
  );
  expect([status, stdout]).toEqual([0, expect.stringContaining('hands nothing over')]);
});

test('a handover of Linux: what is in it, and no more', async () => {
  using directory = new Directory();
  const fits = await runHere('compat', LINUX_IMAGE, directory.write('same', kernel()));
  expect(fits).toMatchObject({ status: 0, stderr: '' });
  expect(fits.stdout).toContain(`reads all that ${LINUX_IMAGE} holds`);
  const next = directory.write('new', kernel({ files: ['memfd-v3'] }));
  const { status, stdout } = await runHere('compat', LINUX_IMAGE, next);
  expect(status).toBe(1);
  expect(stdout).toMatch(/memfd-v2 +NOT READ: all sessions, there are such files/);
});

test('a RAM and programs of ours: asked, without a RAM being touched', async () => {
  using directory = new Directory();
  const ram = `${directory.path}/ram`;
  const machine = await newMachine(ram, '1MiB');
  await preserveFile(machine, 's', 1n, Uint8Array.of(1));
  await machine.handOver();
  const before = fs.readFileSync(ram);
  const open = (options: string): string => `
    import { Machine } from '@liveupdate/kexec';
    console.log('to standard output');
    await Machine.open({ path: ${JSON.stringify(ram)}${options} });
    console.log('opened');
  `;
  {
    using program = new Program(open(''));
    const fits = liveupdate('compat', ram, program.path);
    expect(fits).toMatchObject({ status: 0, stderr: '' });
    expect(fits.stdout).toMatch(/memfd-v2 +read\n/);
    expect(fits.stdout).toMatch(/memfd-v1 +read, and not written\n/);
    const words = ['--', process.execPath, '--conditions=@liveupdate/source', '--no-warnings', program.path];
    expect(liveupdate('compat', ram, ...words)).toMatchObject({ status: 0, stdout: fits.stdout });
    const kernelFits = liveupdate('compat', program.path, directory.write('kernel', kernel()));
    expect([kernelFits.status, kernelFits.stdout]).toEqual([0, expect.stringContaining('It fits')]);
  }
  {
    using program = new Program(open(', handlers: () => []'));
    const { status, stdout } = liveupdate('compat', ram, program.path);
    expect([status, stdout]).toEqual([1, expect.stringMatching(/memfd-v2 +NOT READ: it refuses|NOT READ/)]);
  }
  expect(fs.readFileSync(ram).equals(before)).toBe(true);
});

test.each([
  ['nothing of that name', () => 'no-such-file', 'ENOENT'],
  ['a text', ({ path }: Directory) => `${path}/text`, 'EINVAL'],
  ['a program that is no kernel', () => process.execPath, 'EINVAL'],
  ['a folder', ({ path }: Directory) => path, 'EINVAL'],
  ['a program that opens no machine', ({ path }: Directory) => `${path}/program.mjs`, 'EIO'],
  ['a program that is not there', ({ path }: Directory) => `${path}/none.mjs`, 'ENOENT'],
])('%s: one line, exit code 1', async (_, word, code) => {
  using directory = new Directory();
  directory.write('text', 'a text');
  directory.write('program.mjs', '');
  const good = directory.write('kernel', kernel());
  const { status, stdout, stderr } = await runHere('compat', good, word(directory));
  expect([status, stdout, stderr]).toEqual([
    1,
    '',
    expect.stringMatching(new RegExp(`^liveupdate: ${code}: [^\\n]+\\n$`)),
  ]);
});

test('what only a kernel has is not asked of a program', () => {
  const formats = [
    { role: 'handover', name: 'kho-v4' },
    { role: 'other', name: 'memblock-v1' },
  ] as const;
  const from: Side = { what: 'a', kind: 'kernel', writes: formats, reads: formats, notes: [] };
  const program: Side = { ...from, kind: 'program', reads: formats.slice(0, 1) };
  expect(judge(from, program).fits).toBe(true);
  expect(judge(from, { ...program, kind: 'kernel' }).fits).toBe(false);
});

test('what is damaged does not fit, as far as it can be seen', async () => {
  using directory = new Directory();
  const whole = zlib.gunzipSync(fs.readFileSync(LINUX_IMAGE));
  const cut = directory.write('cut', whole.subarray(0, 400_000));
  const next = directory.write('new', kernel({ files: ['memfd-v3', ...FILES.slice(1)] }));
  const { status, stdout, stderr } = await runHere('compat', cut, next);
  expect([status, stderr]).toEqual([1, '']);
  expect(stdout).toMatch(/It cannot be said: .*cut is damaged \(.+\)/);
});

test('a handover takes nothing over: it is no new side', async () => {
  using directory = new Directory();
  const { status, stdout, stderr } = await runHere('compat', directory.write('old', kernel()), LINUX_IMAGE);
  expect([status, stdout]).toEqual([2, '']);
  expect(stderr).toMatch(/is a handover: name what takes it over, a kernel or a program/);
});

test.each(['garbage', '{}', '{"kho":"kho-v4","luo":5,"bootPage":1,"handlers":[]}'])(
  'a program that tells %s is not understood',
  async (told) => {
    using directory = new Directory();
    using program = new Program(
      `import * as fs from 'node:fs';\nfs.writeFileSync(process.env.LIVEUPDATE_TELL_FORMATS ?? '', '${told}');\n`,
    );
    const { status, stdout, stderr } = await runHere(
      'compat',
      directory.write('old', kernel()),
      program.path,
    );
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/EIO: .* told nothing that can be understood/);
  },
);

test('no image of a kernel has gigabytes', async () => {
  using directory = new Directory();
  const large = directory.write('large', kernel());
  fs.truncateSync(large, 3 * 2 ** 30);
  expect(await runHere('compat', large, large)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/EFBIG: .* has 3 GiB: no image of a kernel is so large/) as string,
  });
});
