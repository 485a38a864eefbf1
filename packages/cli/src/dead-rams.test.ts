/**
 * RAMs that are not handed over: what their owner had preserved is read all the same, where it died
 * and where it lives.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { fillRandom, KernelError } from '@liveupdate/base';
import { Machine } from '@liveupdate/kexec';
import { ShmemFile } from '@liveupdate/shmem';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fromLeft, sessionsOf } from './left.ts';
import { openImage } from './open-image.ts';
import {
  Directory,
  fingerprint,
  liveupdate,
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

interface JsonReport {
  readonly ram: Record<string, unknown>;
  readonly torn?: boolean;
  readonly sessions: readonly {
    readonly name: string;
    readonly unfinished?: boolean;
    readonly files: readonly { readonly token: string; readonly size: number; readonly sha256?: string }[];
  }[];
}

async function inspected(path: string): Promise<JsonReport> {
  const { status, stdout, stderr } = await runHere('inspect', '--json', path);
  expect([status, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as JsonReport;
}

/** What JSON says of files: session, whether it is an older one, token and hash. */
function filesIn({ sessions }: JsonReport): [string, boolean, string, string | undefined][] {
  return sessions.flatMap(({ name, unfinished = false, files }) =>
    files.map((file): [string, boolean, string, string | undefined] => [
      name,
      unfinished,
      file.token,
      file.sha256,
    ]),
  );
}

const OLD = randomBytes(MIB + 5, 1);
const KEPT = randomBytes(70_000, 2);
const NEW = randomBytes(3 * MIB, 3);
const OTHER = randomBytes(10, 4);

const directory = new Directory();
const live = join(directory.path, 'live');
const dead = join(directory.path, 'dead');
let machine: Machine;

/**
 * One that lives, of the second generation: file 1 of the first is not finished, file 2 is
 * preserved again, file 1 of a session of the same name is new.
 */
beforeAll(async () => {
  const first = await newMachine(live, 64 * MIB);
  await preserveFile(first, 'service', 1n, OLD);
  const service = first.kernel.luo.outgoingSessions[0];
  const kept = first.kernel.shmem.memfdCreate('kept');
  kept.pwrite(KEPT, 0);
  await service.preserve(kept, 2n);
  await preserveFile(first, 'other', 1n, OTHER);
  await first.handOver();
  machine = await Machine.open({ path: live });
  const { luo } = machine.kernel;
  const before = luo.retrieveSession('service');
  await preserveFile(machine, 'service', 1n, NEW);
  await luo.outgoingSessions[0].preserve(await before.retrieve(2n, ShmemFile), 2n);
  fs.copyFileSync(live, dead); // nobody holds the lock of the copy
});

afterAll(() => {
  machine.remove();
  directory[Symbol.dispose]();
});

const ALL: ReturnType<typeof filesIn> = [
  ['service', true, '1', sha256(OLD)],
  ['other', false, '1', sha256(OTHER)],
  ['service', false, '1', sha256(NEW)],
  ['service', false, '2', sha256(KEPT)],
];

describe('inspect', () => {
  test('of one whose owner died: all that it had preserved, and what it had not finished', async () => {
    const before = fingerprint(dead);
    const report = await inspected(dead);
    expect(report.ram).toEqual({ state: 'dead', generation: 2, pid: process.pid, end: 'unknown' });
    expect(report).not.toHaveProperty('torn');
    expect(filesIn(report)).toEqual(ALL);
    expect(fingerprint(dead)).toBe(before);
    const { stdout } = await runHere('inspect', dead);
    expect(stdout).toContain(
      `  state        generation 2 (pid ${process.pid}) was killed or crashed: what it had preserved is here\n`,
    );
    expect(stdout).toMatch(/^ {2}├─ service {2}1 file, 1 MiB, the older one: not finished$/m);
    expect(stdout).toMatch(/^ {2}├─ other {2}1 file, 10 B$/m);
    expect(stdout).toMatch(/^ {2}└─ service {2}2 files, 3.07 MiB, the newer one$/m);
  });

  test('of a copy as gzip: the same', async () => {
    const report = await inspected(directory.write('copy.gz', gzipSync(fs.readFileSync(dead))));
    expect(report.ram.state).toBe('copy');
    expect(filesIn(report)).toEqual(ALL);
    expect((await runHere('inspect', join(directory.path, 'copy.gz'))).stdout).toMatch(
      /^ {2}state +a copy, made while generation 2 \(pid \d+\) ran or after it died: contents may be torn$/m,
    );
  });

  test('of one whose owner lives: what it published last', () => {
    const { status, stdout, stderr } = liveupdate('inspect', '--json', live);
    expect([status, stderr]).toEqual([0, '']);
    const report = JSON.parse(stdout) as JsonReport;
    expect(report.ram).toEqual({ state: 'running', generation: 2, pid: process.pid });
    expect(report.torn).toBe(true);
    expect(filesIn(report)).toEqual(ALL);
    expect(liveupdate('inspect', live).stdout).toMatch(
      /^ {2}state +generation 2 runs \(pid \d+\): this is what it published last, and contents may be torn$/m,
    );
  });
});

describe('export', () => {
  test.each([
    ['the newer of two sessions', ['service/1'], NEW],
    ['the older', ['--unfinished', 'service/1'], OLD],
    ['one that was preserved again', ['service/2'], KEPT],
    ['of a session that nobody retrieved', ['other/1'], OTHER],
  ])('%s, from a dead one, from its copy, and from one that lives', async (_, words, content) => {
    const to = join(directory.path, 'to');
    const torn = /^liveupdate: .*: the content may be torn between two of its writes\n$/;
    const packed = directory.write('export.gz', gzipSync(fs.readFileSync(dead), { level: 1 }));
    for (const [ram, said] of [
      [dead, /^$/],
      [packed, torn],
    ] as const) {
      const { status, stderr } = await runHere('export', '--force', ram, ...words, to);
      expect(stderr).toMatch(said);
      expect(status).toBe(0);
      expect(sha256(fs.readFileSync(to))).toBe(sha256(content));
    }
    const [program, ...args] = liveupdateCommand('export', live, ...words, '-');
    const { stdout, stderr } = spawnSync(program, args, { maxBuffer: 2 ** 28 });
    expect(stderr.toString()).toMatch(torn);
    expect(stderr.toString()).toContain(`generation 2 (pid ${process.pid}) is at work in this RAM`);
    expect(sha256(stdout)).toBe(sha256(content));
  });

  test.each([
    [['service/3'], "session 'service' has no file 3: it has 1, 2"],
    [['--unfinished', 'service/2'], "session 'service' has no file 2: it has 1"],
    [['--unfinished', 'other/1'], "there is no older session 'other' that is not finished in it"],
    [['nothing/1'], "there is no session 'nothing' in it"],
  ])('%j: ENOENT', async (words, what) => {
    const { status, stdout, stderr } = await runHere('export', dead, ...words, join(directory.path, 'none'));
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`liveupdate: ENOENT: ${what}`);
  });

  test('what only an older session has: it says so', async () => {
    using other = new Directory();
    const [path, copy] = [join(other.path, 'ram'), join(other.path, 'copy')];
    const first = await newMachine(path, 16 * MIB);
    await preserveFile(first, 'service', 7n, OTHER);
    await first.handOver();
    const second = await Machine.open({ path });
    second.kernel.luo.createSession('service');
    fs.copyFileSync(path, copy);
    second.remove();
    expect((await runHere('export', copy, 'service/7', `${copy}-7`)).stderr).toBe(
      "liveupdate: ENOENT: session 'service' has no file 7: it has none; an older one that is not finished has it: --unfinished\n",
    );
    // Nor is it imported into: no handover can have both.
    expect((await runHere('import', copy, 'service/8', join(directory.path, 'dead'))).stderr).toMatch(
      /^liveupdate: EBUSY: its owner died with two sessions 'service', the older one not finished: .*\n$/,
    );
    expect(filesIn(await inspected(copy))).toEqual([['service', true, '7', sha256(OTHER)]]);
  });
});

describe('import', () => {
  test('into one whose owner died: goes on with what is there', async () => {
    using other = new Directory();
    const [path, copy] = [join(other.path, 'ram'), join(other.path, 'copy')];
    const first = await newMachine(path, 16 * MIB);
    await preserveFile(first, 'a', 1n, KEPT);
    await preserveFile(first, 'b', 1n, OTHER);
    fs.copyFileSync(path, copy);
    first.remove();
    const from = other.write('from', OLD);
    for (const which of ['a/2', 'c/1']) {
      const { status, stderr } = await runHere('import', copy, which, from);
      expect([which, status, stderr]).toEqual([which, 0, '']);
    }
    const report = await inspected(copy);
    expect(report.ram.state).toBe('handed-over');
    expect(filesIn(report).sort()).toEqual([
      ['a', false, '1', sha256(KEPT)],
      ['a', false, '2', sha256(OLD)],
      ['b', false, '1', sha256(OTHER)],
      ['c', false, '1', sha256(OLD)],
    ]);
    const next = await Machine.open({ path: copy });
    expect([next.origin, next.kernel.luo.incomingSessions.length]).toEqual(['handover', 3]);
    next.kernel.pages.assertConsistent();
    next.remove();
  });

  test('killed halfway, it leaves what the dead owner left', async () => {
    using other = new Directory();
    const copy = join(other.path, 'copy');
    const first = await newMachine(join(other.path, 'ram'), 16 * MIB);
    await preserveFile(first, 'a', 1n, KEPT);
    fs.copyFileSync(join(other.path, 'ram'), copy);
    first.remove();
    const before = await inspected(copy);
    const [program, ...words] = liveupdateCommand('import', copy, 'a/2', '-');
    const child = spawn(program, words, { stdio: ['pipe', 'ignore', 'inherit'] });
    const ended = once(child, 'exit');
    await new Promise((resolve) => child.stdin.write(Buffer.alloc(MIB), resolve));
    child.kill('SIGKILL');
    await ended;
    expect(await inspected(copy)).toEqual(before);
  });
});

describe('a RAM whose owner publishes', () => {
  /** The image of the one that lives, which publishes something at these readings. */
  async function busy(isChanged: (reading: number) => boolean): Promise<[string[] | undefined, number]> {
    using image = await openImage(live);
    let readings = 0;
    let asked = 0;
    const names = fromLeft(
      {
        ...image,
        owner: 'lives',
        published: () => {
          asked += 1;
          return asked % 2 === 0 && isChanged(readings) ? 'changed' : 'as before';
        },
        [Symbol.dispose]: () => undefined,
      },
      (left) => {
        readings += 1;
        return sessionsOf(left).map(({ name }) => name);
      },
    );
    return [
      await names.catch((error: unknown) => {
        expect(error).toBeInstanceOf(KernelError);
        expect((error as KernelError).code).toBe('EAGAIN');
        return undefined;
      }),
      readings,
    ];
  }

  test('is read again, three times at the most, and then it is EAGAIN', async () => {
    const names = ['service', 'other', 'service'];
    expect(await busy(() => false)).toEqual([names, 1]);
    expect(await busy((reading) => reading < 4)).toEqual([names, 4]);
    expect(await busy(() => true)).toEqual([undefined, 4]);
  });

  test('all the time, is read whole or is EAGAIN', async () => {
    using other = new Directory();
    const path = join(other.path, 'ram');
    const code = `
      import { Machine } from '@liveupdate/kexec';
      const machine = await Machine.open({ path: process.argv[1], size: '16MiB' });
      const { luo, shmem } = machine.kernel;
      const session = luo.createSession('busy');
      const file = (byte) => {
        const made = shmem.memfdCreate('file');
        made.pwrite(new Uint8Array(20_000).fill(byte), 0);
        return made;
      };
      await session.preserve(file(1), 1);
      console.log('ready');
      for (let i = 2; ; i++) {
        const made = file(i);
        await session.preserve(made, i);
        await session.unpreserve(i);
        made.close();
        if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      }`;
    const child = spawn(
      process.execPath,
      ['--conditions=@liveupdate/source', '--input-type=module', '-e', code, path],
      { cwd: import.meta.dirname, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const said = text(child.stderr);
    await once(child.stdout, 'data');
    const expected = new Uint8Array(20_000).fill(1);
    let [read, again] = [0, 0];
    for (let round = 0; round < 60; round++) {
      const to = join(other.path, `to-${round}`);
      const [exported, listed] = [
        await runHere('export', path, 'busy/1', to),
        await runHere('inspect', path),
      ];
      for (const { status, stderr } of [exported, listed]) {
        if (status === 0) read += 1;
        else again += 1;
        if (status !== 0) expect(stderr).toMatch(/^liveupdate: EAGAIN: [^\n]*\n$/);
      }
      if (exported.status === 0) expect(fs.readFileSync(to).equals(expected)).toBe(true);
    }
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await said).toBe('');
    expect(read).toBeGreaterThan(0);
    expect(read + again).toBe(120);
    // And then it is dead.
    expect((await runHere('export', path, 'busy/1', join(other.path, 'last'))).stderr).toBe('');
    expect(fs.readFileSync(join(other.path, 'last')).equals(expected)).toBe(true);
  });
});
