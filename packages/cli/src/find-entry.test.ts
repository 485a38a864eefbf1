import * as fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { ElfCoreRam } from '@liveupdate/memory-image';
import { describe, expect, test } from 'vitest';
import { areasAt } from './survey.ts';
import { Directory, elfCore, LINUX_IMAGE, runHere, type Ran } from './test-cli.ts';

const MIB = 2 ** 20;
const TREE = 0x4d_8000;
const SCRATCH = 0xf3f_0000;
const ZEROS = new Uint8Array(4 * MIB);

function words(...values: number[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values.map(BigInt)).buffer);
}

/** A page that begins with these bytes. */
function page(bytes: Uint8Array, at = 0): Uint8Array {
  const whole = new Uint8Array(4096);
  whole.set(bytes, at);
  return whole;
}

/** Linux's handover as pieces of memory, to which a test adds more. */
function linuxPieces(): { pa: number; bytes: Uint8Array }[] {
  const ram = new ElfCoreRam(gunzipSync(fs.readFileSync(LINUX_IMAGE)));
  return Array.from({ length: Math.ceil(ram.size / (4 * MIB)) }, (_, i) => {
    const pa = i * 4 * MIB;
    return { pa, bytes: ram.bytes(pa, Math.min(4 * MIB, ram.size - pa)) };
  }).filter(({ bytes }) => Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) !== 0);
}

function setupData(...entry: number[]): Uint8Array {
  const record = new Uint8Array(48);
  record.set([10, 0, 0, 0, 32, 0, 0, 0], 8);
  record.set(words(...entry), 16);
  return record;
}

/** `inspect` on these pieces of memory, the first of which is the page under test. */
async function inspectPieces(...pages: { pa: number; bytes: Uint8Array }[]): Promise<Ran> {
  using directory = new Directory();
  return await runHere('inspect', directory.write('core', elfCore([...pages, ...linuxPieces()])));
}

describe('areas in a row', () => {
  test.each([
    ['two areas and an end', words(4 * MIB, MIB, 8 * MIB, 0, 0, 0), 2],
    ['an area that overlaps the one before', words(4 * MIB, 8 * MIB, 6 * MIB, MIB), 1],
    ['an address that is not aligned', words(4 * MIB + 1, MIB), 0],
    ['a size that is not aligned', words(4 * MIB, 100), 0],
    ['no physical address', words(2 ** 52, MIB), 0],
    ['zeros', new Uint8Array(64), 0],
    ['the end of the bytes', words(4 * MIB, MIB).subarray(0, 12), 0],
  ])('%s', (_, bytes, count) => {
    expect(areasAt(bytes, 0, 4096)).toHaveLength(count);
  });
});

test('a setup_data record leads to the handover, a damaged one beside it does not', async () => {
  const good = page(setupData(TREE, 4096, SCRATCH, 48), 0x300);
  good.set(setupData(TREE + 4096, 4096, SCRATCH, 48), 0x700);
  const { status, stdout } = await inspectPieces({ pa: 0x9_d000, bytes: good });
  expect(status).toBe(0);
  expect(stdout).toContain(': from a setup_data record in the image\n');
  expect(stdout).toContain('4 sessions, 156 files');
});

test('two handovers: the choice is the caller’s, and the choices are named', async () => {
  const copy = page(words(4 * MIB * 30, 4 * MIB, 4 * MIB * 40, 4 * MIB, 4 * MIB * 50, 4 * MIB));
  const { status, stderr } = await inspectPieces({ pa: 0x9_d000, bytes: copy });
  expect(status).toBe(1);
  expect(stderr).toContain('this image holds 2 handovers');
  expect(stderr).toContain(`--entry 0x${TREE.toString(16)},0x${SCRATCH.toString(16)},48`);
  expect(stderr).toContain(`--entry 0x${TREE.toString(16)},0x9d000,48`);
});

test('a tree without a scratch array: asked for, with what was found', async () => {
  using directory = new Directory();
  const pieces = linuxPieces().map(({ pa, bytes }) => {
    if (pa <= SCRATCH && SCRATCH < pa + bytes.length) bytes.fill(0, SCRATCH - pa, SCRATCH - pa + 4096);
    return { pa, bytes };
  });
  const { status, stderr } = await runHere('inspect', directory.write('core', elfCore(pieces)));
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^liveupdate: EINVAL: .*device tree at 0x4d8000 and no scratch array.*--entry 0x4d8000,.*\n$/,
  );
});

test('a raw image is searched like the others, and --entry chooses', async () => {
  using directory = new Directory();
  const raw = Buffer.alloc(SCRATCH + 32 * MIB);
  for (const { pa, bytes } of linuxPieces()) raw.set(bytes, pa);
  const path = directory.write('memory.raw', raw);
  const searched = await runHere('inspect', path);
  const chosen = await runHere('inspect', '--entry', `0x4d8000,${SCRATCH}`, path);
  for (const { status, stdout } of [searched, chosen]) {
    expect(status).toBe(0);
    expect(stdout).toContain('raw image');
    expect(stdout).toContain('4 sessions, 156 files');
  }
  const wrong = await runHere('inspect', '--entry', '0x4d8000,0x4d9000', path);
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toMatch(/no scratch array at 0x4d9000/);
});

test('a core of more addresses than can be searched says so', async () => {
  using directory = new Directory();
  const path = directory.write('core', elfCore([{ pa: 2 ** 43, bytes: new Uint8Array(4096) }]));
  const { status, stderr } = await runHere('inspect', path);
  expect(status).toBe(1);
  expect(stderr).toMatch(/too much to search.*--entry/);
  const larger = directory.write('larger', elfCore([{ pa: 2 ** 44, bytes: new Uint8Array(4096) }]));
  const refused = await runHere('inspect', '--entry', '0x1000,0x2000', larger);
  expect([refused.status, refused.stderr]).toEqual([
    1,
    expect.stringMatching(/^liveupdate: EINVAL: .*up to address 0x100000000000, 16 TiB\n$/),
  ]);
});
