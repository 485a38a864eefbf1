/**
 * `liveupdate inspect` on a real Linux at every moment of a live update: a kernel at work, its
 * handover, and the kernel after it; in every kind of image, and in the running kernel itself.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { seed } from '@liveupdate/base/test-seed';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { Debugger } from './gdb.ts';
import { bundleCommand, Guest, whyNoGuest, type GuestEvent } from './guest.ts';
import type { KeptFile, KeptSession } from './guest/kept.ts';
import { Qmp } from './qmp.ts';

const program = (name: string): string => fileURLToPath(new URL(`./guest/${name}.ts`, import.meta.url));
/** Seconds that a GiB may take, on a machine that has nothing else to do. */
const SECONDS_A_GIB = 10;

interface Report {
  readonly moment: string;
  readonly damage?: readonly string[];
  readonly notes?: readonly string[];
  readonly sessions: readonly {
    readonly name: string;
    readonly files: readonly (KeptFile & { readonly taken?: string })[];
  }[];
  readonly flbs: readonly object[];
  readonly owners: readonly { readonly name: string; readonly bytes: number }[];
  readonly preserved: { readonly bytes: number };
  readonly unowned: { readonly bytes: number };
}

let bundle: Awaited<ReturnType<typeof bundleCommand>> | undefined;
let cli = '';
beforeAll(async () => {
  if (whyNoGuest() === undefined) bundle = await bundleCommand();
  cli = bundle?.main ?? '';
});
afterAll(() => {
  if (bundle) fs.rmSync(bundle.folder, { recursive: true });
});

const MEMORY = 384;
const ofFile = ({ token, size, position, seals, sha256 }: KeptFile): KeptFile => ({
  token,
  size,
  position,
  seals,
  sha256,
});
const ofSessions = ({ sessions }: Report): KeptSession[] =>
  sessions.map(({ name, files }) => ({ name, files: files.map(ofFile) }));
/** Files whatever they are called, those without content left out: nothing tells that they are. */
const contents = (sessions: readonly KeptSession[]): string[] =>
  sessions
    .flatMap(({ files }) =>
      files.map(({ size, position, seals, sha256 }) => `${size} ${position} ${seals} ${sha256}`),
    )
    .sort();

test('dumps of every moment and kind', async () => {
  /** What inspect says of an image; a dump is removed. */
  const inspect = (path: string): Report => {
    const before = process.cpuUsage();
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--no-warnings', cli, 'inspect', '--json', path],
      {
        encoding: 'utf8',
        maxBuffer: 2 ** 28,
      },
    );
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1e6).toBeLessThan((SECONDS_A_GIB * MEMORY) / 1024);
    expect([status, stderr]).toEqual([0, '']);
    return JSON.parse(stdout) as Report;
  };
  await using guest = await Guest.start({
    program: program('give'),
    memory: MEMORY,
    env: { GUEST_SEED: seed, GUEST_FILES: 40 },
  });
  await guest.until('preserved');
  const expected = JSON.parse(fs.readFileSync(join(guest.share, 'expected.json'), 'utf8')) as KeptSession[];
  using qmp = await Qmp.connect(join(guest.folder, 'qmp'));
  /** Reports of all kinds of dumps, which say the same. */
  const everyKind = async (): Promise<Report> => {
    await qmp.execute('stop');
    const dumps = await Promise.all(
      ['elf', 'kdump-zlib'].map(async (format) => {
        const path = join(guest.folder, format);
        await qmp.execute('dump-guest-memory', { paging: false, protocol: `file:${path}`, format });
        return path;
      }),
    );
    const raw = inspect(guest.memory);
    for (const path of dumps) {
      expect(contents(ofSessions(inspect(path)))).toEqual(contents(ofSessions(raw)));
      fs.rmSync(path);
    }
    await qmp.execute('cont');
    return raw;
  };
  const before = await everyKind();
  expect(before.moment).toBe('preserving');
  const some = contents(ofSessions(before));
  expect(some.length).toBeGreaterThan(20);
  expect(contents(expected)).toEqual(expect.arrayContaining(some));
  expect(before.damage).toBeUndefined();

  {
    using debug = await Debugger.attach(join(guest.folder, 'gdb'));
    await debug.runToNextKernel(guest.serial, () => {
      fs.writeFileSync(join(guest.share, 'go'), '');
    });
    const between = inspect(guest.memory);
    expect(between.moment).toBe('handed over');
    expect(ofSessions(between)).toEqual(expected);
    expect(between.owners.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(between.preserved.bytes);
    expect(between.unowned.bytes).toBe(0);
    debug.resume();
  }
  await guest.until('next');
  const after = await everyKind();
  expect(after.moment).toBe('taken over');
  expect(ofSessions(after)).toEqual(expected);
  expect(after.flbs).toHaveLength(3);
  // Where the next kernel has used the pages of the map again, nothing says what it has taken.
  const isMapGone = after.notes?.some((note) => note.includes('map of preserved memory is gone')) === true;
  expect(new Set(after.sessions.flatMap(({ files }) => files.map(({ taken }) => taken)))).toEqual(
    new Set([isMapGone ? 'unknown' : 'no']),
  );
  // A file out of the memory of a kernel at work.
  const [{ name, files }] = after.sessions;
  const largest = files.toSorted((a, b) => b.size - a.size)[0];
  const out = join(guest.folder, 'out');
  const exported = spawnSync(process.execPath, [
    cli,
    'export',
    guest.memory,
    `${name}/${largest.token}`,
    out,
  ]);
  expect(exported.status).toBe(0);
  expect(fs.statSync(out).size).toBe(largest.size);
});

test('the running kernel, by /proc/kcore', async () => {
  await using guest = await Guest.start({
    program: program('running-kernel'),
    memory: 768, // reading it keeps up to 256 MiB
    env: { GUEST_CLI: cli },
  });
  const { files } = (await guest.until('kept')) as GuestEvent & { files: KeptFile[] };
  await guest.until('done');
  const ran = guest.events.filter(({ event }) => event === 'ran') as unknown as {
    status: number | null;
    stdout: string;
    stderr: string;
  }[];
  const [first, nobody, later] = ran;
  onTestFinished(({ task }) => {
    if (task.result?.state === 'fail') console.error(ran.map(({ stderr }) => stderr));
  });
  const before = JSON.parse(first.stdout) as Report;
  expect(before.moment).toBe('preserving');
  expect(contents(ofSessions(before))).toEqual(contents([{ name: '', files }]));
  expect([nobody.status, nobody.stdout, nobody.stderr]).toEqual([
    1,
    '',
    expect.stringMatching(/^liveupdate: E(ACCES|PERM): [^\n]*root[^\n]*\n$/),
  ]);
  const after = JSON.parse(later.stdout) as Report;
  expect(after.moment).toBe('taken over');
  expect(contents(ofSessions(after))).toEqual(contents([{ name: '', files }]));
});
