/**
 * A new version that takes over and fails, at whatever point: the old version, started again, finds
 * everything that it handed over, but for what the new one finished or preserved again itself.
 */
import * as fs from 'node:fs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { codeOf, PAGE_SIZE } from '@liveupdate/base';
import { isQuick } from '@liveupdate/base/test-seed';
import { ShmemFile } from '@liveupdate/shmem';
import { BOOT_PAGE_VERSION } from './boot-page.ts';
import { crc32 } from './crc32.ts';
import { Machine } from './machine.ts';
import { ramPath } from './ram-source.ts';
import { Program, removeRam, testName } from './test-process.ts';

let name: string;
beforeEach(() => {
  name = testName();
  onTestFinished(() => {
    removeRam(name);
  });
});

/** What the old version leaves: token t holds two pages of t. */
const LEFT = { service: [1, 2, 3], other: [9] };

const OLD = (handOver: string): string => `
const machine = await Machine.open({ name: NAME, size: '16MiB' });
const { luo, shmem } = machine.kernel;
for (const [title, tokens] of Object.entries(${JSON.stringify(LEFT)})) {
  const session = luo.createSession(title);
  for (const token of tokens) {
    const file = shmem.memfdCreate('f');
    file.write(new Uint8Array(8192).fill(token));
    await session.preserve(file, token);
  }
}
${handOver}
`;

const LATER = 'await new Promise((resolve) => setTimeout(resolve, 20));';
const OPENS = `
const machine = await Machine.open({ name: NAME });
const { luo, shmem, pages } = machine.kernel;
// One that failed before may have left two of a name.
const retrieved = (name) => {
  try { return luo.retrieveSession(name, { unfinished: true }); } catch { return luo.retrieveSession(name); }
};
const isHere = (name, token) => luo.incomingSessions.some((session) =>
  session.name === name && session.files.some((file) => file.token === BigInt(token)));
`;
const RETRIEVES = `
const before = retrieved('service');
const files = [];
for (const { token } of before.files) files.push(await before.retrieve(token));
shmem.memfdCreate('work').write(new Uint8Array(2 ** 20).fill(7));
`;
const PRESERVES_ONE = `
const session = luo.createSession('service');
if (before.files.some(({ token }) => token === 1n)) await session.preserve(files[0], 1);
else {
  const newer = luo.retrieveSession('service');
  await session.preserve(await newer.retrieve(1), 1);
  await newer.finish();
}
`;
const FINISHES_OTHER = "if (isHere('other', 9)) await luo.retrieveSession('other').finish();";

type Found = readonly (readonly [name: string, ...tokens: number[]])[];

const ALL: Found = [
  ['service', 1, 2, 3],
  ['other', 9],
];
const ONE_AGAIN: Found = [
  ['service', 2, 3],
  ['other', 9],
  ['service', 1],
];

const FAILS: readonly (readonly [what: string, code: string, origin: string, found: Found])[] = [
  ['at import', '', 'handover', ALL],
  ['as soon as it has opened the RAM', OPENS, 'handover', ALL],
  ['in its first turn, with all retrieved', OPENS + RETRIEVES, 'handover', ALL],
  ['after an await', OPENS + LATER, 'recovered', ALL],
  ['after it retrieved, and an await', OPENS + RETRIEVES + LATER, 'recovered', ALL],
  [
    'after it cut the files that it retrieved',
    `${OPENS}${RETRIEVES}${LATER}for (const file of files) file.truncate(4096);`,
    'recovered',
    ALL,
  ],
  ['after it preserved one file again', OPENS + RETRIEVES + PRESERVES_ONE + LATER, 'recovered', ONE_AGAIN],
  [
    'after it finished one session',
    OPENS + RETRIEVES + FINISHES_OTHER + LATER,
    'recovered',
    [['service', 1, 2, 3]],
  ],
  [
    'after it preserved one file again and finished the rest',
    `${OPENS}${RETRIEVES}${PRESERVES_ONE} await before.finish();${LATER}`,
    'recovered',
    [
      ['other', 9],
      ['service', 1],
    ],
  ],
];

/** The old version again: every file as it was. */
async function oldAgain(): Promise<{ origin: string; end: string | undefined; found: Found }> {
  const machine = await Machine.open({ name });
  const { luo, pages } = machine.kernel;
  pages.assertConsistent();
  const found: [string, ...number[]][] = [];
  for (const session of luo.incomingSessions) {
    const tokens = session.files.map(({ token }) => Number(token));
    found.push([session.name, ...tokens]);
    for (const token of tokens) {
      const file = await session.retrieve(token, ShmemFile);
      const bytes = new Uint8Array(file.size);
      file.pread(bytes, 0);
      expect(bytes).toEqual(new Uint8Array(2 * PAGE_SIZE).fill(token));
    }
  }
  pages.assertConsistent();
  machine.close();
  return { origin: machine.origin, end: machine.lastOwner?.end, found };
}

/** Runs a version that fails, to its end. */
async function fail(program: Program, how: 'throws' | 'hangs'): Promise<void> {
  if (how === 'throws') {
    expect(program.run(name).status).toBe(1);
    return;
  }
  const { line, end } = await program.start(name);
  expect(line).toBe('hangs');
  await end('SIGKILL');
}

const HOW = {
  throws: 'throw new Error("no database");',
  hangs: "fs.writeSync(1, 'hangs\\n'); for (;;);",
};

/** Each failure in each way; where somebody waits, one way. */
const [HOWS, WAYS] = isQuick
  ? ([['throws'], ['handOver']] as const)
  : ([
      ['throws', 'hangs'],
      ['handOver', 'kexec'],
    ] as const);

describe.each(HOWS)('a new version that %s', (how) => {
  describe.each(WAYS)('after %s', (way) => {
    it.each(FAILS)('%s', async (_, code, origin, found) => {
      using broken = new Program(`import * as fs from 'node:fs';\n${code}\n${HOW[how]}`);
      if (way === 'handOver') {
        using old = new Program(OLD('await machine.handOver();'));
        expect(old.run(name).status).toBe(0);
        await fail(broken, how);
      } else {
        const next = `[...process.execArgv, ${JSON.stringify(broken.path)}]`;
        using old = new Program(OLD(`await machine.kexec(${next});`));
        await fail(old, how);
      }
      await fail(broken, how); // somebody tries again
      const end = origin === 'handover' ? 'handover' : how === 'throws' ? 'exception' : 'unknown';
      expect(await oldAgain()).toEqual({ origin, end, found });
    });
  });
});

/** A version whose files are of two kinds. */
const TWO_KINDS = `
import { memfdHandler } from '@liveupdate/memfd-handler';
const noteHandler = (kho) => ({
  compatible: 'note-v1',
  canPreserve: (file) => typeof file.note === 'number',
  preserve: ({ file }) => {
    const block = kho.allocPreserve(8);
    block.setU64({ at: 0, bytes: 8 }, BigInt(file.note));
    return { data: BigInt(block.pa) };
  },
  unpreserve: ({ data }) => kho.unpreserveFree(Number(data)),
  retrieve: ({ data }) => ({ note: Number(kho.recordAt(data).getU64({ at: 0, bytes: 8 })) }),
  finish: () => undefined,
});
const handlers = ({ kho, shmem }) => [memfdHandler({ kho, shmem }), noteHandler(kho)];
const machine = await Machine.open({ name: NAME, size: '16MiB', handlers });
const { luo, shmem } = machine.kernel;
`;

describe('a new version that cannot read what was left changes nothing', () => {
  it.each(['await machine.handOver();', "process.kill(process.pid, 'SIGKILL');"])(
    'no handler for one of the files, after %s',
    async (end) => {
      using old = new Program(`${TWO_KINDS}
const session = luo.createSession('s');
const file = shmem.memfdCreate('f');
file.write(new Uint8Array(9).fill(4));
await session.preserve(file, 1);
await session.preserve({ note: 77 }, 2);
${end}
`);
      old.run(name);
      for (let times = 0; times < 2; times++)
        expect(await Machine.open({ name }).then(() => '', codeOf)).toBe('ENOENT');
      using again = new Program(`${TWO_KINDS}
const session = luo.retrieveSession('s');
say(machine.origin, (await session.retrieve(1)).size, (await session.retrieve(2)).note);
`);
      const origin = end.includes('SIGKILL') ? 'recovered' : 'handover';
      expect(again.run(name).lines).toEqual([`${origin} 9 77`]);
    },
  );

  it.each(['await machine.handOver();', "process.kill(process.pid, 'SIGKILL');"])(
    'a RAM of another layout, after %s',
    async (end) => {
      using old = new Program(OLD(end));
      old.run(name);
      /** Both copies say so, and are intact. */
      const other = (version: number): void => {
        const fd = fs.openSync(ramPath(name), 'r+');
        for (const at of [0, 2048]) {
          const copy = Buffer.alloc(128);
          fs.readSync(fd, copy, 0, 128, at);
          copy.writeUInt32LE(version, 16);
          copy.writeUInt32LE(crc32(copy.subarray(0, 124)), 124);
          fs.writeSync(fd, copy, 0, 128, at);
        }
        fs.closeSync(fd);
      };
      other(BOOT_PAGE_VERSION + 1);
      const before = fs.readFileSync(ramPath(name));
      for (const options of [{}, { onCrash: 'cold' as const }, { size: '32MiB' }])
        expect(await Machine.open({ name, ...options }).then(() => '', codeOf)).toBe('EINVAL');
      expect(Buffer.compare(fs.readFileSync(ramPath(name)), before)).toBe(0);
      other(BOOT_PAGE_VERSION);
      expect((await oldAgain()).found).toEqual(ALL);
    },
  );
});

describe('as reports had it', () => {
  const KEPT = `
const machine = await Machine.open({ name: NAME, size: '64MiB' });
const state = machine.kernel.shmem.memfdCreate('state');
state.write(new TextEncoder().encode('kept'));
await machine.kernel.luo.createSession('service').preserve(state, 1);
`;

  async function text(machine: Machine): Promise<string> {
    const file = await machine.kernel.luo.retrieveSession('service').retrieve(1, ShmemFile);
    const bytes = new Uint8Array(file.size);
    file.pread(bytes, 0);
    machine.close();
    return new TextDecoder().decode(bytes);
  }

  it('kill -9 of a service that preserved its file: the next finds it, and is told', async () => {
    using service = new Program(`${KEPT}
await new Promise((resolve) => setTimeout(resolve, 50));
process.kill(process.pid, 'SIGKILL');
`);
    expect(service.run(name).signal).toBe('SIGKILL');
    const machine = await Machine.open({ name });
    expect([machine.origin, await text(machine)]).toEqual(['recovered', 'kept']);
  });

  it('a new version that takes over, waits for something and throws: the old one finds everything', async () => {
    using first = new Program(`${KEPT} await machine.handOver();`);
    expect(first.run(name).status).toBe(0);
    using broken = new Program(`
const machine = await Machine.open({ name: NAME });
await machine.kernel.luo.retrieveSession('service').retrieve(1);
await new Promise((resolve) => setTimeout(resolve, 20));
throw new Error('no database');
`);
    expect(broken.run(name).status).toBe(1);
    const machine = await Machine.open({ name });
    expect([machine.origin, await text(machine)]).toEqual(['recovered', 'kept']);
  });
});
