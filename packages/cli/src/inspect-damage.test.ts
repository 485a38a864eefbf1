/**
 * Images that cannot be read: one sentence, exit code 1, nothing on standard output, and not a byte
 * of the file changed.
 */
import * as fs from 'node:fs';
import { crc32, gunzipSync, gzipSync } from 'node:zlib';
import { fillRandom } from '@liveupdate/base';
import { afterAll, describe, expect, test } from 'vitest';
import {
  Directory,
  elfCore,
  fingerprint,
  LINUX_IMAGE,
  newMachine,
  preserveFile,
  runHere,
} from './test-cli.ts';

const directory = new Directory();
afterAll(() => {
  directory[Symbol.dispose]();
});

const packed = fs.readFileSync(LINUX_IMAGE);
const core = gunzipSync(packed);
/** File offset of the KHO device tree in the core, a page of its own segment. */
const TREE_AT = core.indexOf(Buffer.from([0xd0, 0x0d, 0xfe, 0xed]));

function noise(length: number): Buffer {
  const words = new Uint32Array(length / 4);
  fillRandom(words, 7);
  return Buffer.from(words.buffer);
}

/** A copy with some bytes changed. */
function changed(bytes: Buffer, edit: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  edit(copy);
  return copy;
}

/** A RAM that was handed over. */
async function handedOver(name: string): Promise<Buffer> {
  const path = `${directory.path}/${name}`;
  const machine = await newMachine(path, '16MiB');
  await preserveFile(machine, 'session', 1n, noise(100_000));
  await machine.handOver();
  return fs.readFileSync(path);
}

const ram = await handedOver('good');

/** Both copies of the boot page with another layout version, their checksums right. */
const otherVersion = changed(ram, (copy) => {
  for (const at of [0, 2048]) {
    if (copy[at] === 0) continue;
    copy.writeUInt32LE(99, at + 16);
    copy.writeUInt32LE(crc32(copy.subarray(at, at + 124)), at + 124);
  }
});

describe.each<readonly [string, Buffer | string, RegExp]>([
  ['empty', '', /empty/],
  ['a text file', 'name = value\n'.repeat(1000), /neither a RAM file.*--entry/],
  ['random bytes', noise(2 ** 20), /neither a RAM file.*--entry/],
  ['zeros', Buffer.alloc(2 ** 20), /neither a RAM file/],
  ['gzip data of two bytes', packed.subarray(0, 2), /gzip data is damaged or cut short/],
  ['gzip of text', gzipSync('name = value\n'), /neither a RAM file/],
  ['an ELF core cut in its headers', core.subarray(0, 100), /ends inside its program headers/],
  ['an ELF core cut in its first header', core.subarray(0, 30), /no ELF file/],
  ['an ELF program', fs.readFileSync(process.execPath).subarray(0, 2 ** 16), /no 64-bit little-endian core/],
  ['a core without a handover', elfCore([{ pa: 0x10_0000, bytes: noise(65536) }]), /no KHO device tree/],
  ['RAM of another layout version', otherVersion, /layout version 99, this program knows/],
  ['RAM cut short', ram.subarray(0, ram.length - 4096), /cut short/],
  ['RAM cut in a page', ram.subarray(0, ram.length - 100), /cut short/],
  [
    'RAM with a damaged boot page',
    changed(ram, (copy) => copy.fill(1, 20, 60).fill(1, 2068, 2100)),
    /boot page.*damaged/,
  ],
])('%s', (name, content, message) => {
  test('is refused in one sentence and left alone', async () => {
    const path = directory.write(`${name.replaceAll(' ', '-')}.image`, content);
    const before = fingerprint(path);
    const { status, stdout, stderr } = await runHere('inspect', path);
    expect(stderr).toMatch(/^liveupdate: E[A-Z]+: [^\n]+\n$/);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
    expect(status).toBe(1);
    expect(fingerprint(path)).toBe(before);
  });
});

describe.each<readonly [string, Buffer, RegExp]>([
  ['gzip data cut short', packed.subarray(0, packed.length / 2), /gzip data is damaged or cut short/],
  ['an ELF core cut short', core.subarray(0, core.length - 5000), /cut short/],
  [
    'a core with a damaged tree',
    changed(core, (copy) => copy.fill(0xff, TREE_AT + 60, TREE_AT + 300)),
    /device tree/,
  ],
  [
    'a core of another KHO version',
    changed(core, (copy) => copy.write('kho-v9', copy.indexOf('kho-v4', TREE_AT))),
    /'kho-v9', this reads 'kho-v4'/,
  ],
  [
    'a core with damaged sessions',
    changed(core, (copy) => copy.write('luo-v9', copy.indexOf('luo-v5'))),
    /'luo-v9', this reads 'luo-v5'/,
  ],
])('%s', (name, content, message) => {
  test('is told, what can still be read is shown, and the file is left alone', async () => {
    const path = directory.write(`${name.replaceAll(' ', '-')}.image`, content);
    const before = fingerprint(path);
    const { status, stdout, stderr } = await runHere('inspect', path);
    expect(stderr).toMatch(/^liveupdate: E[A-Z]+: [^\n]+\n$/);
    expect(stderr).toMatch(message);
    expect(stdout).toMatch(/damage {2}\d+ places?\n/);
    expect(stdout).toMatch(/sessions {2}[1-9]\d* sessions?, [1-9]\d* files/);
    expect(status).toBe(1);
    const json = await runHere('inspect', '--json', path);
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toHaveProperty(
      'damage',
      expect.arrayContaining([expect.stringMatching(message)]),
    );
    expect(fingerprint(path)).toBe(before);
  });
});

test('gzip data damaged near its beginning: told, and no more can be', async () => {
  const damaged = changed(packed, (copy) => copy.fill(0xff, 2000, 2100));
  const { status, stderr } = await runHere('inspect', directory.write('damaged.gz', damaged));
  expect(stderr).toMatch(/^liveupdate: EINVAL: the gzip data is damaged[^\n]+\n$/);
  expect(status).toBe(1);
});

test.each([
  [directory.path, 'EISDIR'],
  ['/dev/null', 'EINVAL'],
  [`${directory.path}/none`, 'ENOENT'],
  [`${LINUX_IMAGE}/below`, 'ENOTDIR'],
])('%s is no image', async (path, code) => {
  const { status, stderr } = await runHere('inspect', path);
  expect(status).toBe(1);
  expect(stderr).toMatch(new RegExp(`^liveupdate: ${code}: [^\\n]+\\n$`));
});

test('a good RAM is left alone too', async () => {
  const path = `${directory.path}/good`;
  const before = fingerprint(path);
  expect((await runHere('inspect', '--json', path)).status).toBe(0);
  expect(fingerprint(path)).toBe(before);
});

test('bytes overwritten anywhere in what leads to the files end in an answer or in one sentence', async () => {
  for (let round = 0; round < 16; round++) {
    const at = TREE_AT + round * 1700;
    const path = directory.write(
      'overwritten',
      changed(core, (copy) => copy.fill(0xa5 ^ round, at, at + 200)),
    );
    const { status, stdout, stderr } = await runHere('inspect', path);
    if (status === 0) expect(stdout).toContain('sessions');
    else expect(stderr).toMatch(/^liveupdate: E[A-Z0-9]+: [^\n]+\n$/);
  }
});
