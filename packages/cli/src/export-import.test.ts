/**
 * Files go from images and RAMs to disk, and from disk into RAMs, with every byte, and nothing else
 * is lost or left behind.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { fillRandom, PAGE_SIZE } from '@liveupdate/base';
import { Machine } from '@liveupdate/kexec';
import type { FileHandler, PreservableFile } from '@liveupdate/luo-core';
import { ShmemFile } from '@liveupdate/shmem';
import { describe, expect, test } from 'vitest';
import {
  Directory,
  fingerprint,
  linuxExpected,
  LINUX_IMAGE,
  liveupdateBytes,
  liveupdateCommand,
  newMachine,
  preserveFile,
  runHere,
} from './test-cli.ts';

const MIB = 2 ** 20;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function randomBytes(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  fillRandom(words, seed);
  return new Uint8Array(words.buffer, 0, length);
}

/** A RAM that was handed over with one file, of random bytes, under a/1. */
async function handedOver(path: string, content: Uint8Array, size = 16 * MIB): Promise<void> {
  const machine = await newMachine(path, size);
  await preserveFile(machine, 'a', 1n, content);
  await machine.handOver();
}

/** Pages of the largest file that a RAM of 16 MiB can hand over beside two of a page. */
async function mostPages(directory: Directory): Promise<number> {
  for (let pages = (16 * MIB) / PAGE_SIZE; ; pages--) {
    const machine = await newMachine(join(directory.path, 'measured'), 16 * MIB);
    try {
      for (const [session, length] of [1, pages, 1].entries())
        await preserveFile(machine, String(session), 1n, new Uint8Array(length * PAGE_SIZE).fill(1));
      machine.kernel.kho.checkRoomForNext();
      return pages;
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOMEM' });
    } finally {
      machine.remove();
    }
  }
}

/** All files of a RAM by session/token, and the RAM is gone. */
async function filesOf(path: string): Promise<Record<string, Buffer>> {
  const machine = await Machine.open({ path });
  const files: Record<string, Buffer> = {};
  for (const { name } of machine.kernel.luo.incomingSessions) {
    const session = machine.kernel.luo.retrieveSession(name);
    for (const { token } of session.files) {
      const file = await session.retrieve(token, ShmemFile);
      const bytes = Buffer.alloc(file.size);
      file.pread(bytes, 0);
      files[`${name}/${token}`] = bytes;
    }
  }
  machine.remove();
  return files;
}

interface LinuxFiles {
  readonly sessions: readonly {
    readonly name: string;
    readonly files: readonly { readonly token: string; readonly sha256: string; readonly size: number }[];
  }[];
}

describe('export', () => {
  test('of files of a real Linux: the bytes that it had', async () => {
    using directory = new Directory();
    const { sessions } = linuxExpected() as LinuxFiles;
    for (const { name, files } of sessions) {
      for (const file of files.slice(0, 3)) {
        const to = join(directory.path, `${name}-${file.token}`);
        const { status, stdout, stderr } = await runHere('export', LINUX_IMAGE, `${name}/${file.token}`, to);
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        expect(stdout).toContain(`${name}/${file.token}: `);
        expect(sha256(fs.readFileSync(to))).toBe(file.sha256);
      }
    }
  });

  test('of a RAM changes nothing in it, and can be done again over what is there', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const content = randomBytes(3 * MIB + 5, 1);
    await handedOver(ram, content);
    const before = fingerprint(ram);
    const to = directory.write('there', 'something else');
    expect((await runHere('export', ram, 'a/1', to)).stderr).toMatch(/^liveupdate: EEXIST: .*--force\n$/);
    expect(fs.readFileSync(to, 'utf8')).toBe('something else');
    expect((await runHere('export', '--force', ram, 'a/0x1', to)).status).toBe(0);
    expect(fs.readFileSync(to).equals(content)).toBe(true);
    expect(fingerprint(ram)).toBe(before);
    expect(fs.readdirSync(directory.path).sort()).toEqual(['ram', 'there']);
  });

  test.each([
    ['no such session', 'b/1', 'ENOENT', "no session 'b'"],
    ['no such file', 'a/2', 'ENOENT', 'it has 1'],
  ])('%s: a sentence, and nothing on disk', async (_, which, code, words) => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    await handedOver(ram, randomBytes(10, 1));
    const { status, stdout, stderr } = await runHere('export', ram, which, join(directory.path, 'to'));
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(new RegExp(`^liveupdate: ${code}: .*${words}.*\n$`));
    expect(fs.readdirSync(directory.path)).toEqual(['ram']);
  });

  test('to what is no file: refused', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    await handedOver(ram, randomBytes(10, 1));
    expect((await runHere('export', '--force', ram, 'a/1', directory.path)).stderr).toContain('EINVAL');
    const { isTTY } = process.stdout;
    process.stdout.isTTY = true;
    const { status, stderr } = await runHere('export', ram, 'a/1', '-').finally(() => {
      process.stdout.isTTY = isTTY;
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^liveupdate: EINVAL: standard output is a terminal: .*pipe/);
  });

  test('to standard output: all bytes and nothing else, what was never written as zeros', async () => {
    const { sessions } = linuxExpected() as LinuxFiles;
    const files = sessions.flatMap(({ name, files }) =>
      files.map((file) => ({ ...file, name: `${name}/${file.token}` })),
    );
    // One that ends within a page, one with holes, and the largest.
    const chosen = ['alpha/1', 'alpha/18446744073709551615', 'beta/8'];
    await Promise.all(
      chosen.map(async (which) => {
        const { status, stdout, stderr } = await liveupdateBytes('export', LINUX_IMAGE, which, '-');
        const expected = files.find(({ name }) => name === which)!;
        expect({ which, status, stderr, length: stdout.length }).toEqual({
          which,
          status: 0,
          stderr: '',
          length: expected.size,
        });
        expect(sha256(stdout)).toBe(expected.sha256);
      }),
    );
  });

  test('holes stay holes: in the RAM, in the file that is written, and back in a RAM', async () => {
    using directory = new Directory();
    const [ram, to, back] = ['ram', 'to', 'back'].map((name) => join(directory.path, name));
    const machine = await newMachine(ram, 96 * MIB);
    const file = machine.kernel.shmem.memfdCreate('sparse');
    file.truncate(64 * MIB);
    file.pwrite(randomBytes(5000, 7), 40 * MIB - 100);
    await machine.kernel.luo.createSession('a').preserve(file, 1);
    await machine.handOver();
    const blocks = (path: string): number => fs.statSync(path).blocks * 512;
    const before = blocks(ram);
    expect(await runHere('export', ram, 'a/1', to)).toMatchObject({ status: 0 });
    expect([blocks(ram), fs.statSync(to).size]).toEqual([before, 64 * MIB]);
    expect(blocks(to)).toBeLessThan(MIB);
    expect(await runHere('import', back, 'b/2', to, '--size', '96MiB')).toMatchObject({ status: 0 });
    expect(blocks(back)).toBeLessThan(2 * MIB);
    const again = join(directory.path, 'again');
    await runHere('export', back, 'b/2', again);
    expect(fs.readFileSync(again).equals(fs.readFileSync(to))).toBe(true);
  });

  test('to a full disk: a sentence', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    await handedOver(ram, randomBytes(8 * MIB, 7));
    const full = fs.openSync('/dev/full', 'w');
    for (const args of [['export', ram, 'a/1', '-'], ['inspect', ram], ['--help']]) {
      const [program, ...words] = liveupdateCommand(...args);
      const { status, stderr } = spawnSync(program, words, {
        stdio: ['ignore', full, 'pipe'],
        encoding: 'utf8',
      });
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: expect.stringMatching(/^liveupdate: ENOSPC: [^\n]+\n$/) as string,
      });
    }
    fs.closeSync(full);
  });

  test('to a reader that has seen enough', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const content = randomBytes(8 * MIB, 7);
    await handedOver(ram, content);
    const reader = spawn('sh', [
      '-c',
      `"$@" | head -c 5`,
      'sh',
      ...liveupdateCommand('export', ram, 'a/1', '-'),
    ]);
    let [stdout, stderr] = ['', ''];
    reader.stdout.on('data', (data: Buffer) => (stdout += data.toString('latin1')));
    reader.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    await new Promise((resolve) => reader.once('close', resolve));
    expect([stdout, stderr]).toEqual([Buffer.from(content.subarray(0, 5)).toString('latin1'), '']);
  });

  test('of a file of another kind: refused', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const other: PreservableFile = {};
    const handler: FileHandler = {
      compatible: 'other-v1',
      canPreserve: (file): file is PreservableFile => file === other,
      preserve: () => ({ data: 0n }),
      unpreserve: () => undefined,
      retrieve: () => other,
      finish: () => undefined,
    };
    const machine = await newMachine(ram, 16 * MIB, () => [handler]);
    await machine.kernel.luo.createSession('a').preserve(other, 1);
    await machine.handOver();
    const { stderr } = await runHere('export', ram, 'a/1', join(directory.path, 'to'));
    expect(stderr).toContain("EOPNOTSUPP: a/1 is of kind 'other-v1'");
    // And a machine that does not know it is not taken over.
    const before = await runHere('inspect', '--json', ram);
    expect((await runHere('import', ram, 'a/2', directory.write('from', 'x'))).stderr).toContain('ENOENT');
    expect(await runHere('inspect', '--json', ram)).toEqual(before);
  });
});

describe('import', () => {
  test.each([[[]], [['--huge']]])('into a new RAM %j', async (flags) => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const content = randomBytes(5 * MIB + 3, 3);
    const from = directory.write('from', content);
    const { status, stdout, stderr } = await runHere(
      'import',
      '--size',
      '32MiB',
      ...flags,
      ram,
      'vm/x/7',
      from,
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toBe(`vm/x/7: 5 MiB from ${from} into a new RAM of 32 MiB\n`);
    expect((await runHere('inspect', ram)).stdout).toContain(
      flags.length > 0 ? '2 × 2 MiB' : '1,281 × 4 KiB',
    );
    const files = await filesOf(ram);
    expect(Object.keys(files)).toEqual(['vm/x/7']);
    expect(files['vm/x/7'].equals(content)).toBe(true);
  });

  test('beside what is there, again and again; and what was imported is exported', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const first = randomBytes(2 * MIB, 1);
    await handedOver(ram, first);
    const small = directory.write('small', 'hello');
    expect((await runHere('import', ram, 'a/2', small)).status).toBe(0);
    const { stdout } = await runHere('import', '--size', '1GiB', ram, 'b/1', small);
    expect(stdout).toBe(`b/1: 5 B from ${small}; the RAM is enlarged to 1 GiB\n`);
    const shrink = await runHere('import', '--size', '16MiB', ram, 'b/2', small);
    expect([shrink.status, shrink.stdout]).toEqual([1, '']);
    expect(shrink.stderr).toMatch(
      /^liveupdate: EINVAL: this RAM has 1073741824 bytes .*cannot be made smaller/,
    );
    expect((await runHere('import', ram, 'a/3', directory.write('empty', ''))).status).toBe(0);
    const to = join(directory.path, 'to');
    expect((await runHere('export', ram, 'a/1', to)).status).toBe(0);
    expect(fs.readFileSync(to).equals(first)).toBe(true);
    const files = await filesOf(ram);
    expect(Object.keys(files).sort()).toEqual(['a/1', 'a/2', 'a/3', 'b/1']);
    expect([files['a/2'].toString(), files['a/3'].length, files['b/1'].toString()]).toEqual([
      'hello',
      0,
      'hello',
    ]);
  });

  test.each([
    ['a token that is taken', 'a/1', 10, 'EEXIST'],
    ['a file larger than RAM', 'a/2', 40 * MIB, 'ENOMEM'],
    ['one for a session of its own', 'new/1', 40 * MIB, 'ENOMEM'],
  ])('%s: refused, and the rest is handed over as it was', async (_, which, length, code) => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const content = randomBytes(MIB + 1, 1);
    await handedOver(ram, content);
    const from = directory.write('from', new Uint8Array(length));
    const { status, stdout, stderr } = await runHere('import', ram, which, from);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`liveupdate: ${code}: `);
    const inspected = JSON.parse((await runHere('inspect', '--json', ram)).stdout) as {
      sessions: { name: string }[];
    };
    expect(inspected.sessions.map(({ name }) => name)).toEqual(['a']);
    const files = await filesOf(ram);
    expect(Object.keys(files)).toEqual(['a/1']);
    expect(files['a/1'].equals(content)).toBe(true);
  });

  test('into a RAM that is as full as it can be, or by a few pages less: nothing that was there is lost', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const from = directory.write('from', 'small');
    let imported = 0;
    for (let pages = await mostPages(directory); imported < 3; pages--) {
      const contents = [
        randomBytes(PAGE_SIZE, 1),
        randomBytes(pages * PAGE_SIZE, 2),
        randomBytes(PAGE_SIZE, 3),
      ];
      const machine = await newMachine(ram, 16 * MIB);
      for (const [i, content] of contents.entries()) await preserveFile(machine, `session ${i}`, 1n, content);
      await machine.handOver();
      const { status, stderr } = await runHere('import', ram, 'new/1', from);
      if (status !== 0) expect([status, stderr]).toEqual([1, expect.stringContaining('ENOMEM')]);
      imported += status === 0 ? 1 : 0;
      const files = await filesOf(ram);
      expect(Object.keys(files)).toHaveLength(status === 0 ? 4 : 3);
      for (const [i, content] of contents.entries())
        expect(files[`session ${i}/1`].equals(content)).toBe(true);
    }
  });

  test('of the largest file that fits, and of some that are a page too large', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    await handedOver(ram, randomBytes(PAGE_SIZE, 1));
    let refused = 0;
    for (let pages = (await mostPages(directory)) + 8; ; pages--, refused++) {
      const from = directory.write('from', randomBytes(pages * PAGE_SIZE, pages));
      const { status, stderr } = await runHere('import', ram, 'a/2', from);
      if (status === 0) break;
      expect([status, stderr]).toEqual([1, expect.stringContaining('ENOMEM')]);
      expect((await runHere('inspect', ram)).status).toBe(0);
    }
    expect(refused).toBeGreaterThan(0);
    const files = await filesOf(ram);
    expect(files['a/1'].equals(randomBytes(PAGE_SIZE, 1))).toBe(true);
    expect(files['a/2'].equals(fs.readFileSync(join(directory.path, 'from')))).toBe(true);
  });

  test('nothing to import, or nowhere to put it: no RAM is made or touched', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    const from = directory.write('from', new Uint8Array(20 * MIB));
    expect((await runHere('import', ram, 'a/1', from)).stderr).toContain('ENOENT');
    expect((await runHere('import', '--size', '16MiB', ram, 'a/1', from)).stderr).toContain('ENOMEM');
    expect((await runHere('import', '--size', '16MiB', ram, 'a/1', directory.path)).stderr).toContain(
      'EINVAL',
    );
    expect((await runHere('import', '--size', '16MiB', ram, 'a/1', `${from}-`)).stderr).toContain(
      `ENOENT: there is no file '${from}-': give a file`,
    );
    expect((await runHere('import', directory.path, 'a/1', from)).stderr).toBe(
      `liveupdate: EISDIR: opening '${directory.path}': illegal operation on a directory\n`,
    );
    for (const which of ['a', 'a/', '/1', 'a/b', `a/${2n ** 64n}`, 'a/-1'])
      expect((await runHere('import', '--size', '16MiB', ram, which, from)).status).toBe(2);
    expect(fs.readdirSync(directory.path)).toEqual(['from']);
  });

  test('an export that is told to stop leaves nothing; what one writes is for its owner alone', async () => {
    using directory = new Directory();
    const [ram, to] = [join(directory.path, 'ram'), join(directory.path, 'to')];
    await handedOver(ram, randomBytes(200 * MIB, 1), 256 * MIB);
    const [program, ...words] = liveupdateCommand('export', ram, 'a/1', to);
    let how: unknown;
    let stderr = '';
    do {
      fs.rmSync(to, { force: true }); // it came to its end before it was told: once more
      const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
      stderr = '';
      child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
      const ended = once(child, 'close');
      const partial = join(directory.path, `to.partial-${child.pid ?? 0}`);
      while (child.exitCode === null && !fs.existsSync(partial)) await delay(1);
      child.kill('SIGINT');
      how = (await ended) as unknown;
    } while (fs.existsSync(to));
    expect(how).toEqual([1, null]);
    expect(stderr).toMatch(/^liveupdate: EINTR: told to stop: nothing is left at .*\n$/);
    expect(fs.readdirSync(directory.path)).toEqual(['ram']);
    expect((await runHere('export', ram, 'a/1', to)).status).toBe(0);
    expect(fs.statSync(to).mode & 0o777).toBe(0o600);
  });

  test('from standard input; told to stop or killed halfway, the RAM is as it was', async () => {
    using directory = new Directory();
    const ram = join(directory.path, 'ram');
    await handedOver(ram, randomBytes(PAGE_SIZE, 1));
    const main = fileURLToPath(new URL('./main.ts', import.meta.url));
    const start = (which: string) =>
      spawn(process.execPath, ['--conditions=@liveupdate/source', main, 'import', ram, which, '-'], {
        stdio: ['pipe', 'ignore', 'pipe'],
      });
    const whole = start('a/2');
    whole.stdin.end('through a pipe');
    expect(await new Promise((resolve) => whole.once('exit', resolve))).toBe(0);

    const before = await runHere('inspect', '--json', '--hash', ram);
    const large = start('a/3');
    let said = '';
    large.stderr.on('data', (data: Buffer) => (said += data.toString()));
    large.stdin.on('error', () => undefined); // it ends in the middle
    large.stdin.end(Buffer.alloc(20 * MIB));
    expect(await new Promise((resolve) => large.once('close', resolve))).toBe(1);
    expect(said).toMatch(
      /^liveupdate: ENOMEM: the file has more bytes than fit, and [\d.]+ MiB of RAM are free/,
    );
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const stopped = start('a/3');
      let stderr = '';
      stopped.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
      const ended = once(stopped, 'exit');
      // More than a pipe holds: when it is written, the import is under way.
      await new Promise((resolve) => stopped.stdin.write(Buffer.alloc(MIB), resolve));
      expect((await runHere('import', ram, 'b/1', main)).stderr).toContain('EBUSY');
      stopped.kill(signal);
      expect(await ended).toEqual(signal === 'SIGINT' ? [1, null] : [null, signal]);
      if (signal === 'SIGINT') expect(stderr).toContain('EINTR');
      expect(await runHere('inspect', '--json', '--hash', ram)).toEqual(before);
    }
    const files = await filesOf(ram);
    expect(Object.keys(files)).toEqual(['a/1', 'a/2']);
    expect(files['a/2'].toString()).toBe('through a pipe');
  });
});
