import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { fillRandom } from '@liveupdate/base';
import type { FileHandler, PreservableFile } from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { SEAL_GROW, SEAL_SHRINK } from '@liveupdate/shmem';
import { describe, expect, test } from 'vitest';
import {
  Directory,
  linuxExpected,
  LINUX_IMAGE,
  liveupdate,
  newMachine,
  preserveFile,
  runHere,
  secondsOfWork,
} from './test-cli.ts';

const MIB = 2 ** 20;

function randomBytes(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  fillRandom(words, seed);
  return new Uint8Array(words.buffer, 0, length);
}

/** What is known of the handover of Linux, and who owns its memory. */
const expected = (): object => ({
  ...(linuxExpected() as object),
  moment: 'handed over',
  handlers: [{ compatible: 'memfd-v2', files: 156, known: true }],
  owners: expect.arrayContaining([
    { name: 'alpha/1', bytes: 7 * 4096 },
    { name: 'beta/8', bytes: 4 * MIB + 3 * 4096 },
    { name: "subtree 'kexec-metadata'", bytes: 4096 },
  ]) as unknown,
  unowned: { bytes: 0, runs: [] },
});

/** A file of a kind that only a test knows. */
const STUB: PreservableFile = {};

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface JsonReport {
  sessions: { name: string; files: Record<string, unknown>[] }[];
  boot: Record<string, number>;
}

describe('the handover of Linux 7.3', () => {
  test('as JSON it is what is known to be in it', () => {
    const { status, stdout, stderr } = liveupdate('inspect', '--json', LINUX_IMAGE);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual(expected());
    expect(status).toBe(0);
  });

  test('unpacked it is the same', () => {
    using directory = new Directory();
    const path = directory.write('handover.elf', gunzipSync(fs.readFileSync(LINUX_IMAGE)));
    expect(JSON.parse(liveupdate('inspect', '--json', path).stdout)).toEqual(expected());
  });

  test('the entry can be given, with and without the size of the scratch array', () => {
    for (const entry of ['0x4d8000,0xf3f0000', '5079040,255787008,48']) {
      const { stdout } = liveupdate('inspect', '--json', '--entry', entry, LINUX_IMAGE);
      expect(JSON.parse(stdout)).toEqual(expected());
    }
  });

  test('so can the size of RAM', () => {
    const { stdout } = liveupdate('inspect', '--json', '--ram-size', '512MiB', LINUX_IMAGE);
    expect((JSON.parse(stdout) as JsonReport).boot.ramSize).toBe(512 * MIB);
    const small = liveupdate('inspect', '--ram-size', '128MiB', LINUX_IMAGE);
    expect(small.status).toBe(1);
    expect(small.stderr).toMatch(/^liveupdate: EINVAL: .*--ram-size.*\n$/);
  });

  test('as text: header, sessions, FLBs, memory, picture; without colour, long lists cut', () => {
    const { status, stdout } = liveupdate('inspect', LINUX_IMAGE);
    expect(status).toBe(0);
    expect(stdout).not.toContain('\x1b');
    for (const line of [
      `${LINUX_IMAGE}: ELF core, gzip, 256 MiB of RAM (the core does not say: rounded up; --ram-size sets it)`,
      '  kernel before  7.3.4-luo',
      '  kexec count    1',
      '  live update    number 1',
      '  entry          device tree 0x4d8000, scratch array 0xf3f0000: found by searching the image',
      'sessions  4 sessions, 156 files',
      '  ├─ alpha  4 files, 1.07 MiB',
      '  │    token 18446744073709551615  memfd-v2  1 MiB     at 0      seal  256 × 4 KiB',
      '  │    token 8  memfd-v2  4 MiB  at 0     no seals     2 × 2 MiB',
      '  ├─ empty  no files',
      '  └─ many  150 files, 1.06 KiB',
      '       token 1009  memfd-v2  6 B  at 6  seal  1 × 4 KiB',
      '       … 140 more (--all)',
      '  liveupdate-test-flb-v0  data 0xfeedf00dcafebee0  held by 156 files',
      'preserved memory  7.53 MiB in 906 entries',
      '  order 9  2 × 2 MiB    4 MiB',
      '  0xc800000  not used',
      '          each character = 512 KiB: █ preserved, ▓ preserved in part, ~ scratch, · free',
    ])
      expect(stdout.split('\n')).toContain(line);
    expect(stdout).not.toContain('token 1010 ');
  });

  test('--all lists everything, --hash the hashes', () => {
    const { stdout } = liveupdate('inspect', '--all', '--hash', LINUX_IMAGE);
    expect(stdout.match(/^.*token .*sha256 [\da-f]{64}$/gm)).toHaveLength(156);
    expect(stdout).toContain('0c5ad0c88c0c0513b09ed728c144654a2a7191588569a2dedcfe937e4e1a1c02');
  });
});

describe('RAM of liveupdate', () => {
  test('handed over: position, seals, folios, holes and hashes of each file; by path, by name, as gzip', async () => {
    using directory = new Directory();
    const path = `${directory.path}/ram`;
    const machine = await newMachine(path, '64MiB');
    const { shmem, luo } = machine.kernel;
    const session = luo.createSession('mixed');

    const huge = shmem.memfdCreate('huge', 0);
    huge.adviseHuge();
    const hugeBytes = randomBytes(5 * MIB + 1234, 1);
    huge.pwrite(hugeBytes, 0);
    await session.preserve(huge, 1n);

    const sparse = shmem.memfdCreate('sparse', 2);
    sparse.truncate(3 * MIB + 77);
    const island = randomBytes(70_000, 2);
    sparse.pwrite(island, MIB - 5);
    sparse.addSeals(SEAL_SHRINK | SEAL_GROW);
    sparse.seek(4711);
    const sparseBytes = new Uint8Array(3 * MIB + 77);
    sparseBytes.set(island, MIB - 5);
    await session.preserve(sparse, 2n ** 64n - 1n);
    const before = { huge: sha256(hugeBytes), sparse: sha256(sparseBytes) };
    await machine.handOver();

    const name = `cli-test-${process.pid}`;
    const link = `/dev/shm/liveupdate.${name}`;
    fs.linkSync(path, link);
    const packed = directory.write('ram.gz', gzipSync(fs.readFileSync(path)));
    try {
      for (const image of [path, name, packed]) {
        const { stdout, stderr } = liveupdate('inspect', '--json', image);
        expect(stderr).toBe('');
        const report = JSON.parse(stdout) as JsonReport;
        expect(report.boot.ramSize).toBe(64 * MIB);
        const [{ name: sessionName, files }] = report.sessions;
        expect(sessionName).toBe('mixed');
        expect(files[0]).toMatchObject({ token: '1', size: 5 * MIB + 1234, sha256: before.huge });
        expect(files[0].folioOrders).toMatchObject({ 9: 2 });
        expect(files[1]).toMatchObject({
          token: String(2n ** 64n - 1n),
          position: 4711,
          seals: SEAL_SHRINK | SEAL_GROW,
          sha256: before.sparse,
        });
      }
    } finally {
      fs.rmSync(link);
    }
    const { stdout } = liveupdate('inspect', path);
    expect(stdout).toContain('RAM file, 64 MiB of RAM\n');
    expect(stdout).toContain(`  state          handed over by generation 1 (pid ${process.pid})\n`);
    expect(stdout).toContain(': from the boot page\n');
    expect(stdout).toContain('shrink+grow');
  });

  test('64 GiB open at once, and cost what is looked at', async () => {
    using directory = new Directory();
    const path = `${directory.path}/ram`;
    const machine = await newMachine(path, '64GiB');
    await preserveFile(machine, 'large', 1n, randomBytes(MIB, 3));
    await machine.handOver();
    const before = process.cpuUsage();
    const { status, stdout } = await runHere('inspect', path);
    expect(secondsOfWork(before)).toBeLessThan(10); // half a second where nothing is read that nobody asked for
    expect(status).toBe(0);
    expect(stdout).toContain('each character = 128 MiB');
    expect(fs.statSync(path).blocks * 512).toBeLessThan(64 * MIB); // reading fills no hole
  });

  test('empty: said in one sentence', async () => {
    using directory = new Directory();
    const path = `${directory.path}/ram`;
    const machine = await newMachine(path, '16MiB');
    await preserveFile(machine, 's', 1n, randomBytes(10, 1));
    machine.close();
    expect(liveupdate('inspect', path)).toEqual({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(/^liveupdate: ENODATA: this RAM is empty.*\n$/) as string,
    });
  });

  test('a file of an unknown kind is listed with its data, and a name is not sent to the terminal raw', async () => {
    using directory = new Directory();
    const path = `${directory.path}/ram`;
    const stub: FileHandler = {
      compatible: 'stub-v1',
      canPreserve: (file): file is PreservableFile => file === STUB,
      preserve: () => ({ data: 0xfeed_f00d_cafe_beefn }),
      unpreserve: () => undefined,
      retrieve: () => STUB,
      finish: () => undefined,
    };
    const machine = await newMachine(path, '16MiB', ({ kho, shmem }) => [memfdHandler({ kho, shmem }), stub]);
    await machine.kernel.luo.createSession('odd\x1b[31m').preserve(STUB, 5n);
    await machine.handOver();
    const { stdout } = liveupdate('inspect', path);
    expect(stdout).toContain('  └─ odd\\u{1b}[31m  1 file, 0 B\n');
    expect(stdout).toContain('token 5  stub-v1  data 0xfeedf00dcafebeef (unknown kind of file)\n');
    const report = JSON.parse(liveupdate('inspect', '--json', path).stdout) as JsonReport;
    expect(report.sessions[0].files).toEqual([
      { token: '5', compatible: 'stub-v1', data: '0xfeedf00dcafebeef' },
    ]);
  });
});

test('a name that stands for nothing: both meanings are named', () => {
  const { status, stderr } = liveupdate('inspect', 'no-such-ram');
  expect(status).toBe(1);
  expect(stderr).toMatch(/^liveupdate: ENOENT: there is no file 'no-such-ram' and no RAM of that name.*\n$/);
});
