/**
 * What is written for QEMU. That a real kernel boots from it, and from what it finds, is shown in
 * apps/interop.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAGE_SIZE } from '@liveupdate/base';
import { bootCold, readEntry, readHandover, type Kho } from '@liveupdate/kho';
import { SparseRam, withMemoryMap } from '@liveupdate/mm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { pcMemoryMap, writeBootImage } from './boot-image.ts';
import { readKernelImage } from './kernel-image.ts';
import { fakeKernel, RELEASE } from './test-kernel.ts';

const MiB = 2 ** 20;
const SIZE = 128 * MiB;
const withCode = (code: string): unknown => expect.objectContaining({ code });

let folder: string;
let kho: Kho;
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-boot-image-'));
  kho = machine([{ addr: 32 * MiB, size: 16 * MiB }]);
});
afterEach(() => {
  fs.rmSync(folder, { recursive: true });
});

function machine(scratch: { addr: number; size: number }[]): Kho {
  const made = bootCold(withMemoryMap(new SparseRam(SIZE), pcMemoryMap(SIZE)), {
    scratch,
    freeMemory: 'zero',
  });
  const block = made.allocPreserve(3 * PAGE_SIZE);
  block.bytes.fill(0x5a);
  made.addSubtree('x', block.pa, 3 * PAGE_SIZE);
  return made;
}

const write = (kernel: Uint8Array, of = kho) =>
  writeBootImage(join(folder, 'image'), { ram: of.ram, size: SIZE, entry: of.entry, kernel });

/** The written memory. */
function memoryOf({ memory }: { memory: string }): SparseRam {
  const file = fs.openSync(memory, 'r');
  return new SparseRam(fs.fstatSync(file).size, (block, pa) => {
    fs.readSync(file, block, 0, block.length, pa);
  });
}

test('the handover reads in the file as it does in memory, and the rest of it is holes', async () => {
  const told: number[] = [];
  const kernel = fakeKernel();
  const { ram, entry } = kho;
  const path = join(folder, 'a');
  const onProgress = (bytes: number): void => {
    told.push(bytes);
  };
  const image = await writeBootImage(path, { ram, entry, kernel, onProgress });
  expect(image).toMatchObject({ release: RELEASE, kernelAt: 32 * MiB, memory: join(path, 'memory') });
  expect(told.reduce((sum, bytes) => sum + bytes, 0)).toBe(image.written);
  const written = memoryOf(image);
  expect([written.size, fs.statSync(image.memory).blocks * 512 < MiB]).toEqual([SIZE, true]);
  const before = readHandover(ram, entry);
  const after = readHandover(written, entry);
  expect([after.subtrees, after.preservedByOrder, after.scratch]).toEqual([
    before.subtrees,
    before.preservedByOrder,
    before.scratch,
  ]);
  const { pa } = before.subtrees.get('x')!;
  expect(written.bytes(pa, 3 * PAGE_SIZE).every((byte) => byte === 0x5a)).toBe(true);
});

test('the kernel stands in scratch, and its header leads to the record of the entry', async () => {
  const kernel = fakeKernel({ code: new Uint8Array(5000).fill(0xcc), setupSectors: 0 });
  const image = await write(kernel);
  const header = new DataView(new Uint8Array(fs.readFileSync(image.kernel)).buffer);
  expect(header.byteLength).toBe(5 * 512); // nothing that a loader would put anywhere
  expect(header.getUint32(0x214, true)).toBe(image.kernelAt);
  const written = memoryOf(image);
  expect(written.bytes(image.kernelAt, 5000).every((byte) => byte === 0xcc)).toBe(true);
  const record = Number(header.getBigUint64(0x250, true));
  expect(record).toBe(image.kernelAt + 2 ** 22);
  const view = new DataView(written.bytes(record, 48).slice().buffer);
  expect([view.getBigUint64(0, true), view.getUint32(8, true), view.getUint32(12, true)]).toEqual([
    0n,
    10,
    32,
  ]);
  expect(readEntry(new Uint8Array(view.buffer, 16, 32))).toEqual(kho.entry);
  expect(image.machine.join(' ')).toMatch(
    /^-machine pc-i440fx-7.1,memory-backend=ram -m 128M .*size=134217728,mem-path=.*memory,share=off -kernel .*kernel$/,
  );
});

describe('where the kernel goes', () => {
  test.each([
    ['an area that is too small is passed over', [16, 2, 64, 16], {}, 64],
    ['it is aligned', [33, 16], { alignment: 8 * MiB }, 40],
    ['not below the least address', [4, 48], { least: 24 * MiB }, 24],
  ])('%s', async (_, scratch, of, at) => {
    const areas = [];
    for (let i = 0; i < scratch.length; i += 2)
      areas.push({ addr: scratch[i] * MiB, size: scratch[i + 1] * MiB });
    const { kernelAt } = await write(fakeKernel(of), machine(areas));
    expect(kernelAt).toBe(at * MiB);
  });

  test('room for all that it needs until it knows of memory, and for the record', async () => {
    await expect(write(fakeKernel({ initSize: 16 * MiB }))).rejects.toThrow(
      /needs 18 MiB of one scratch area/,
    );
    await expect(write(fakeKernel({ initSize: 16 * MiB }))).rejects.toThrow(withCode('EINVAL'));
    const { kernelAt } = await write(fakeKernel({ initSize: 16 * MiB - PAGE_SIZE }));
    expect(kernelAt).toBe(32 * MiB);
    const long = fakeKernel({ initSize: MiB, code: new Uint8Array(16 * MiB) });
    await expect(write(long)).rejects.toThrow(withCode('EINVAL'));
  });
});

test('memory where firmware works is refused, and a handover that is damaged', async () => {
  const low = bootCold(new SparseRam(SIZE), { scratch: [{ addr: 32 * MiB, size: 16 * MiB }] });
  await expect(write(fakeKernel(), low)).rejects.toThrow(/preserved, and the firmware of a PC works there/);
  kho.ram.bytes(kho.entry.fdtAddr, 4).fill(0);
  await expect(write(fakeKernel())).rejects.toThrow(withCode('EINVAL'));
  expect(fs.existsSync(join(folder, 'image'))).toBe(false);
});

test('what the file system refuses is told', async () => {
  fs.writeFileSync(join(folder, 'image'), '');
  await expect(write(fakeKernel())).rejects.toThrow(withCode('ENOTDIR'));
});

describe('a kernel image', () => {
  test('says what a loader must know', () => {
    const code = new Uint8Array(16).fill(3);
    expect(readKernelImage(fakeKernel({ code }))).toMatchObject({
      release: RELEASE,
      alignment: 2 ** 21,
      least: 2 ** 24,
      initSize: 2 ** 22,
      code,
    });
  });

  test.each([
    ['nothing', new Uint8Array(0)],
    ['an ELF file', new Uint8Array(4096).fill(0x7f)],
    ['one that is cut short', fakeKernel().subarray(0, 6 * 512)],
    ['an old protocol', fakeKernel({ version: 0x209 })],
    ['one that cannot be moved', fakeKernel({ relocatable: 0 })],
    ['one that has not all of its code', fakeKernel().subarray(0, -16)],
    ['one with an alignment that is none', fakeKernel({ alignment: 3 })],
    ['one that needs no memory', fakeKernel({ initSize: 0 })],
  ])('%s is refused', (_, bytes) => {
    expect(() => readKernelImage(bytes)).toThrow(withCode('EINVAL'));
  });
});

test.each([0, 3 * MiB, 4 * MiB + 1, 3 * 2 ** 30 + MiB, Number.NaN])('a PC of %s bytes is none', (size) => {
  expect(() => pcMemoryMap(size)).toThrow(withCode('EINVAL'));
});
