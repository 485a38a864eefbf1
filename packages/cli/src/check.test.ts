/**
 * Every structure of a RAM, damaged on its own: check says what it is, lists what can be exported,
 * and that is exported with every byte.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fillRandom, PAGE_SIZE } from '@liveupdate/base';
import { readBootPage } from '@liveupdate/kexec';
import { pagesOfKind, readHandover, readLiveRecord, type LiveRecord } from '@liveupdate/kho';
import { readLiveSessions } from '@liveupdate/luo-core';
import { readMemfdRecord, MEMFD_V2 } from '@liveupdate/memfd-handler';
import { HeapRam } from '@liveupdate/mm';
import { afterAll, describe, expect, test } from 'vitest';
import { Directory, fingerprint, liveupdate, newMachine, preserveFile, runHere } from './test-cli.ts';

const directory = new Directory();
afterAll(() => {
  directory[Symbol.dispose]();
});

/** Kinds of pages of a live record. */
const LEAVES = 2;
const FILES = 16;
const SESSIONS = 17;

function randomBytes(length: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4));
  fillRandom(words, seed);
  return Buffer.from(words.buffer, 0, length);
}

const CONTENT: Readonly<Record<string, Buffer>> = {
  'a/1': randomBytes(50_000, 1),
  'a/2': randomBytes(9_000, 2),
  'b/1': randomBytes(4_096, 3),
};
const ALL = Object.keys(CONTENT);

interface Report {
  readonly state: string;
  readonly whole: boolean;
  readonly damage: readonly { readonly part: string; readonly what: string }[];
  readonly notes: readonly string[];
  readonly files: readonly { readonly session: string; readonly token: string; readonly state: string }[];
}

/** A RAM with all of that, whose owner goes on; and a copy, which is one of an owner that died. */
async function made(handsOver: boolean): Promise<Buffer> {
  const path = join(directory.path, `made-${handsOver}`);
  const machine = await newMachine(path, '2MiB');
  const { luo, shmem } = machine.kernel;
  await preserveFile(machine, 'a', 1n, CONTENT['a/1']);
  const file = shmem.memfdCreate('second');
  file.pwrite(CONTENT['a/2'], 0);
  await luo.outgoingSessions[0].preserve(file, 2n);
  await preserveFile(machine, 'b', 1n, CONTENT['b/1']);
  if (handsOver) await machine.handOver();
  const bytes = fs.readFileSync(path);
  if (!handsOver) machine.remove();
  return bytes;
}

const dead = await made(false);
const handed = await made(true);

/** A RAM as it lies in memory, and where things are in it. */
class Opened {
  readonly ram: HeapRam;
  readonly bytes: Uint8Array;
  readonly record: LiveRecord;
  readonly live: number;

  constructor(image: Buffer) {
    this.ram = new HeapRam(image.length);
    this.bytes = this.ram.bytes(0, image.length);
    this.bytes.set(image);
    const page = readBootPage(this.bytes, image.length);
    this.live = page.live;
    this.record = readLiveRecord(this.ram, page.live, page.liveChange || undefined);
  }

  get handover(): ReturnType<typeof readHandover> {
    return readHandover(this.ram, readBootPage(this.bytes, this.bytes.length).entry);
  }

  /** The words of the page at an address. */
  readonly words = (pa: number): Uint32Array => wordsAt(this.ram, pa / PAGE_SIZE);

  /** Those of the first page of a kind. */
  readonly pageOf = (kind: number): Uint32Array => wordsAt(this.ram, pagesOfKind(this.record, kind)[0].pfn);

  /** Where the record of a memfd is. */
  memfd(name: string): number {
    const [session, token] = name.split('/');
    const { files } = readLiveSessions(this.ram, this.record).sessions.find((each) => each.name === session)!;
    return Number(files.find((file) => file.token === BigInt(token))!.data);
  }

  /** A page of the list of folios of a memfd. */
  folios(name: string): Uint32Array {
    const { array } = readMemfdRecord(this.ram, this.memfd(name), MEMFD_V2);
    const chunk = this.words(array.first);
    return this.words(chunk[2]); // an address below 4 GiB
  }
}

async function check(path: string): Promise<Report & { readonly status: number | null }> {
  const { status, stdout, stderr } = await runHere('check', '--json', path);
  expect(stderr).toBe('');
  return { status, ...(JSON.parse(stdout) as Report) };
}

/** What `check` says can be exported is, with every byte. */
async function expectExported(path: string, { files }: Report): Promise<string[]> {
  const whole = files.filter(({ state }) => state === 'whole').map((file) => `${file.session}/${file.token}`);
  for (const name of whole) {
    const to = join(directory.path, 'exported');
    const { status, stderr } = await runHere('export', '--force', path, name, to);
    expect([name, status, stderr]).toEqual([name, 0, '']);
    expect(fs.readFileSync(to).equals(CONTENT[name])).toBe(true);
  }
  return whole.sort();
}

function wordsAt(ram: HeapRam, pfn: number): Uint32Array {
  const bytes = ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE);
  return new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
}

/** Of the slots of a page, the word at `at` in the one that is number `slot`. */
const inSlot = (slot: number, at: number): number => slot * 32 + at;

describe('of a RAM whose owner died', () => {
  test('that is whole', async () => {
    const path = directory.write('whole', dead);
    const before = fingerprint(path);
    const report = await check(path);
    expect(report).toMatchObject({ status: 0, state: 'dead', whole: true, damage: [] });
    expect(await expectExported(path, report)).toEqual(ALL);
    expect(report.notes).toEqual([
      expect.stringMatching(/^live record: change \d+, \d+ pages, \d+ pages of/),
    ]);
    const { status, stdout } = await runHere('check', path);
    expect(status).toBe(0);
    expect(stdout).toMatch(/: 2 MiB of RAM\n {2}generation 1 \(pid \d+\) was killed or crashed: what it had/);
    expect(stdout).toMatch(/\n {2}2 sessions with 3 files: 3 whole, 0 damaged\nwhole\n$/);
    expect(fingerprint(path)).toBe(before);
  });

  test.each<[string, (opened: Opened) => void, string, RegExp, string[]]>([
    [
      'a copy of the boot page, the other is whole',
      ({ bytes }) => {
        const whole = bytes[0] === 0 ? 2048 : 0;
        bytes.copyWithin(2048 - whole, whole, whole + 128);
        bytes[2048 - whole + 60] ^= 4;
      },
      'boot page',
      /^copy [12] of 2 is damaged$/,
      ALL,
    ],
    [
      'both copies of the boot page',
      ({ bytes }) => bytes.fill(0x55, 20, 40).fill(0x55, 2068, 2088),
      'boot page',
      /damaged in both copies/,
      [],
    ],
    ['the beginning', ({ bytes, live }) => (bytes[live] ^= 1), 'live record', /it has no beginning/, []],
    ['its version', ({ bytes, live }) => (bytes[live + 12] ^= 2), 'live record', /has version 3/, []],
    [
      'the number of the last change',
      ({ bytes, live }) => bytes.fill(0, live + 16, live + 20),
      'live record',
      /tells of change 0/,
      [],
    ],
    [
      'its list: a page twice',
      ({ ram, record }) => {
        const [page, word] = pagesOfKind(record, SESSIONS)[0].line;
        const [, files] = pagesOfKind(record, FILES)[0].line;
        const words = wordsAt(ram, page);
        // A line that names no page names that of the sessions too.
        words.copyWithin(Math.max(word, files) + 40, word, word + 4);
      },
      'live record',
      /page \d+ is used twice/,
      ALL,
    ],
    [
      'its list: a page of no kind',
      ({ ram, record }) => {
        const [page, word] = pagesOfKind(record, SESSIONS)[0].line;
        wordsAt(ram, page)[word + 1] = 9;
      },
      'live record',
      /a page is of kind 9/,
      [],
    ],
    [
      'its list: where it goes on',
      ({ bytes, live }) => bytes.fill(0x77, live + 32, live + 34),
      'live record',
      /its list goes on at 0x7777/,
      ALL,
    ],
    [
      'its log',
      ({ words, live }) => {
        const header = words(live);
        header[5] = header[4];
        header[6] = 1;
        header.set([2 ** 20, 1, 0], (128 + 256) / 4);
      },
      'live record',
      /it logs 1 folios of order 0 at frame 1048576/,
      ALL,
    ],
    [
      'its scratch areas',
      ({ bytes, live }) => bytes.fill(0xff, live + 128, live + 134),
      'live record',
      /scratch|2\^53|beyond/i,
      ALL,
    ],
    [
      'the map of published pages: one is missing',
      (opened) => {
        const [pfn] = opened.folios('a/2');
        opened.pageOf(LEAVES)[pfn >>> 5] &= ~(1 << (pfn & 31));
      },
      'file',
      /^token 2 of session 'a': its folio at frame \d+ is not preserved/,
      ['a/1', 'b/1'],
    ],
    [
      'the map: a page outside of RAM',
      ({ pageOf }) => (pageOf(LEAVES)[100] |= 1),
      'live record',
      /preserved frames 3200..3200 .* are no memory/,
      ALL,
    ],
    [
      'the map: one of its own pages',
      ({ pageOf, live }) => (pageOf(LEAVES)[live >>> 17] |= 1 << ((live >>> 12) & 31)),
      'live record',
      /its page \d+ is .* as well/,
      ALL,
    ],
    [
      'the name of a session',
      ({ pageOf }) => pageOf(SESSIONS).fill(0, inSlot(1, 16), inSlot(1, 17)),
      'live record',
      /a session name is empty/,
      ['a/1', 'a/2'],
    ],
    [
      'the kind of a file',
      ({ pageOf }) => pageOf(FILES).fill(0, inSlot(1, 12), inSlot(1, 13)),
      'live record',
      /a compatible string is empty/,
      ['a/1', 'b/1'],
    ],
    [
      'the session of a file',
      ({ pageOf }) => (pageOf(FILES)[inSlot(0, 3)] = 30),
      'live record',
      /a file is in session 30/,
      ['a/2', 'b/1'],
    ],
    [
      'the token of a file',
      ({ pageOf }) => (pageOf(FILES)[inSlot(1, 4)] = 1),
      'live record',
      /session 'a' has a token twice/,
      ['a/1', 'a/1', 'b/1'],
    ],
    [
      'where the record of a file is',
      ({ pageOf }) => (pageOf(FILES)[inSlot(1, 6)] ^= 0x100),
      'file',
      /^token 2 of session 'a': a memfd record at 0x/,
      ['a/1', 'b/1'],
    ],
    [
      'the FLBs of a file',
      ({ pageOf }) => {
        pageOf(FILES)[inSlot(1, 8)] = 3;
        pageOf(FILES)[inSlot(1, 9)] = 1;
      },
      'live record',
      /there is no page 3 of FLBs/,
      ALL,
    ],
    [
      'the record of a memfd',
      (opened) => opened.words(opened.memfd('b/1')).fill(0xffff_ffff, 2, 4),
      'file',
      /^token 1 of session 'b': /,
      ['a/1', 'a/2'],
    ],
    [
      'the chain that leads to its list of folios',
      (opened) =>
        (opened.words(readMemfdRecord(opened.ram, opened.memfd('b/1'), MEMFD_V2).array.first)[0] = 5),
      'file',
      /^token 1 of session 'b': a vmalloc descriptor has a damaged chain/,
      ['a/1', 'a/2'],
    ],
    [
      'its list of folios: the place in the file',
      (opened) => (opened.folios('a/2')[2] = 9),
      'file',
      /^token 2 of session 'a': /,
      ['a/1', 'b/1'],
    ],
    [
      "its list of folios: one is another file's",
      (opened) => (opened.folios('a/2')[0] = opened.folios('a/1')[0]),
      'file',
      /^token 2 of session 'a': its folio at frame \d+ is also that of token 1 of session 'a'$/,
      ['b/1'], // which of the two is right, nobody knows
    ],
  ])('%s', async (_, damage, part, what, exported) => {
    const opened = new Opened(dead);
    damage(opened);
    const path = directory.write('damaged', opened.bytes);
    const report = await check(path);
    expect([report.status, report.whole]).toEqual([1, false]);
    expect(report.damage.filter((each) => each.part === part).map((each) => each.what)).toEqual(
      expect.arrayContaining([expect.stringMatching(what)]),
    );
    if (new Set(exported).size < exported.length) return; // which of the two is meant, nobody knows
    expect(await expectExported(path, report)).toEqual(exported);
    const listed = await runHere('check', path);
    expect(listed.status).toBe(1);
    expect(listed.stdout).toMatch(/\ndamaged in \d+ places?:\n/);
    for (const name of exported) expect(listed.stdout).toContain(`\n  ${name}\n`);
    // And those that list show what is beside it.
    const inspected = await runHere('inspect', path);
    if (inspected.status === 0) expect(part === 'boot page' || exported.length === 1).toBe(true);
    else expect(inspected.stderr).toMatch(/^liveupdate: E[A-Z]+: [^\n]*\n$/);
    for (const name of exported) expect(inspected.stdout).toContain(`token ${name.at(-1) ?? ''}`);
  });
});

describe('of a RAM that is handed over', () => {
  test('that is whole', async () => {
    const path = directory.write('handed', handed);
    const report = await check(path);
    expect(report).toMatchObject({ status: 0, state: 'handed-over', whole: true, damage: [] });
    expect(await expectExported(path, report)).toEqual(ALL);
  });

  test.each<[string, (opened: Opened) => void, string, RegExp]>([
    [
      'the device tree',
      ({ words, handover }) => words(handover.entry.fdtAddr).fill(0xffff_ffff, 10, 100),
      'handover',
      /device tree/,
    ],
    [
      'the map of preserved memory',
      ({ words, handover }) => words(handover.preservedMap).fill(0x1234_5678, 0, 8),
      'handover',
      /preserved memory map is damaged/,
    ],
    [
      'the sessions',
      ({ words, handover }) => (words(handover.subtrees.get('LUO')!.pa)[0] ^= 1),
      'handover',
      /the sessions are/,
    ],
    ['the live record', ({ bytes, live }) => (bytes[live] ^= 1), 'live record', /it has no beginning/],
  ])('%s: the files are found by what else tells of them', async (_, damage, part, what) => {
    const opened = new Opened(handed);
    damage(opened);
    const path = directory.write('damaged', opened.bytes);
    const report = await check(path);
    expect([report.status, report.whole]).toEqual([1, false]);
    expect(report.damage).toEqual([{ part, what: expect.stringMatching(what) as string }]);
    expect(await expectExported(path, report)).toEqual(ALL);
  });
});

test('of one that is empty, as gzip, and of one whose owner goes on', async () => {
  const path = join(directory.path, 'other');
  const machine = await newMachine(path, '2MiB');
  await preserveFile(machine, 'b', 1n, CONTENT['b/1']);
  const running = liveupdate('check', '--json', path); // in another process: this one has the lock
  expect([running.status, running.stderr]).toEqual([0, '']);
  expect(JSON.parse(running.stdout)).toMatchObject({ state: 'running', whole: true, sessions: 1 });
  machine.close();
  expect(await check(path)).toMatchObject({ status: 0, state: 'empty', whole: true, files: [] });
  const packed = directory.write('dead.gz', gzipSync(dead));
  expect(await check(packed)).toMatchObject({ status: 0, state: 'copy', whole: true });
});

test('of what is no RAM: one sentence', async () => {
  for (const given of [directory.write('text', 'no RAM'.repeat(1000)), 'no-such-ram']) {
    const { status, stdout, stderr } = await runHere('check', given);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^liveupdate: (EINVAL|ENOENT): [^\n]*\n$/);
  }
});

test('a few hundred times, bits are flipped anywhere in what leads to the files: an answer each time', async () => {
  const seed = Number(process.env.LIVEUPDATE_SEED ?? 20_260_731);
  const random = new Uint32Array(2 ** 14);
  fillRandom(random, seed);
  let used = 0;
  const upTo = (n: number): number => random[used++ % random.length] % n;
  for (let round = 0; round < 300; round++) {
    const opened = new Opened(round % 3 === 0 ? handed : dead);
    const { record, live, bytes } = opened;
    const pages = [0, live / PAGE_SIZE, ...record.pages.map(({ pfn }) => pfn)];
    for (const name of ALL) {
      const { array } = readMemfdRecord(opened.ram, opened.memfd(name), MEMFD_V2);
      pages.push(
        opened.memfd(name) / PAGE_SIZE,
        array.first / PAGE_SIZE,
        opened.words(array.first)[2] / PAGE_SIZE,
      );
    }
    if (round % 3 === 0) pages.push(...opened.handover.structure);
    for (let flips = 1 + upTo(4); flips > 0; flips--) {
      const page = bytes.subarray(pages[upTo(pages.length)] * PAGE_SIZE).subarray(0, PAGE_SIZE);
      // Where something is, mostly.
      const set = page.findLastIndex((byte) => byte !== 0);
      page[upTo(round % 2 === 0 ? PAGE_SIZE : set + 8) % PAGE_SIZE] ^= 1 << upTo(8);
    }
    const path = directory.write('flipped', bytes);
    const told = await runHere('check', '--json', path);
    expect([round, seed, told.status]).toEqual([round, seed, expect.toBeOneOf([0, 1])]);
    if (told.stdout === '') expect(told.stderr).toMatch(/^liveupdate: E[A-Z0-9]+: [^\n]*\n$/);
    const files = told.stdout === '' ? [] : (JSON.parse(told.stdout) as Report).files;
    for (const { session, token, state } of files) {
      if (state !== 'whole' || !(`${session}/${token}` in CONTENT)) continue;
      const twice = files.filter((file) => file.session === session && file.token === token).length > 1;
      const out = await runHere(
        'export',
        '--force',
        path,
        `${session}/${token}`,
        join(directory.path, 'out'),
      );
      if (!twice)
        expect([round, seed, session, token, out.status, out.stderr]).toEqual([
          round,
          seed,
          session,
          token,
          0,
          '',
        ]);
    }
    const { status, stderr } = await runHere('inspect', '--json', path);
    if (status !== 0) expect(stderr).toMatch(/^liveupdate: E[A-Z0-9]+: [^\n]*\n$/);
  }
});
