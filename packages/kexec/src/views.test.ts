/**
 * What JavaScript does with a view of a file, in any order with what the machine does: the view
 * ends alone, the machine goes on.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { BEFORE_REPLACE_EVENT } from '@liveupdate/linux';
import { ShmemFile, type ShmemMapping } from '@liveupdate/shmem';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KernelParts } from './kernel.ts';
import { Machine } from './machine.ts';
import { removeRam, testName } from './test-process.ts';

const SIZE = 8 * 2 ** 20;
const LENGTH = 8 * PAGE_SIZE;

let name: string;
let machines: Machine[];

beforeEach(() => {
  name = testName();
  machines = [];
});

afterEach(() => {
  for (const machine of machines) machine.close();
  removeRam(name);
});

async function open(): Promise<Machine> {
  const machine = await Machine.open({ name, size: SIZE, onCrash: 'cold' });
  machines.push(machine);
  return machine;
}

/** A file of eight pages, with another one's between them or not, and what else there is. */
function files({ kernel: { shmem } }: Machine, isScattered: boolean): { file: ShmemFile; other: ShmemFile } {
  const [file, other] = [shmem.memfdCreate('file'), shmem.memfdCreate('other')];
  for (let at = 0; at < LENGTH; at += PAGE_SIZE) {
    if (isScattered || at === 0) other.pwrite(new Uint8Array(isScattered ? PAGE_SIZE : LENGTH).fill(66), at);
    if (isScattered) file.pwrite(new Uint8Array(PAGE_SIZE).fill(65), at);
  }
  if (!isScattered) file.write(new Uint8Array(LENGTH).fill(65));
  let pieces = 0;
  file.inode.cache.forEachRun(0, LENGTH / PAGE_SIZE, () => (pieces += 1));
  expect(pieces > 1).toBe(isScattered);
  return { file, other };
}

const allAre = (file: ShmemFile, byte: number): boolean => {
  const bytes = new Uint8Array(LENGTH);
  file.pread(bytes, 0);
  return bytes.every((found) => found === byte);
};

/** What takes a view's buffer away; what has it then. */
const TAKE: Record<string, (bytes: Uint8Array<ArrayBuffer>) => Promise<ArrayBufferLike>> = {
  'nothing takes': (bytes) => Promise.resolve(bytes.buffer),
  'transfer() takes': (bytes) => Promise.resolve(bytes.buffer.transfer()),
  'a transfer list takes': (bytes) =>
    Promise.resolve(structuredClone(bytes.buffer, { transfer: [bytes.buffer] })),
  'a stream takes': async (bytes) => {
    const stream = new ReadableStream({
      type: 'bytes',
      start(controller) {
        controller.enqueue(bytes);
      },
    });
    return ((await stream.getReader().read()).value as Uint8Array).buffer;
  },
};

/** What ends a view. */
const END: Record<string, (machine: Machine, mapping: ShmemMapping, file: ShmemFile) => unknown> = {
  'unmap()': (_, mapping) => {
    mapping.unmap();
  },
  'the close of its file and unmap()': (_, mapping, file) => {
    file.close();
    mapping.unmap();
  },
  'the close of the machine': (machine) => {
    machine.close();
  },
  'handOver()': (machine) => machine.handOver(),
  'remove()': (machine) => {
    machine.remove();
  },
};

const all = Object.keys(TAKE).flatMap((take) =>
  Object.keys(END).flatMap((end) => [false, true].map((isScattered) => ({ take, end, isScattered }))),
);

test.each(all)('$take a view (scattered: $isScattered), then $end', async ({ take, end, isScattered }) => {
  const machine = await open();
  const { file, other } = files(machine, isScattered);
  const kept = machine.kernel.shmem.memfdCreate('kept');
  kept.write(new Uint8Array(LENGTH).fill(67));
  await machine.kernel.luo.createSession('s').preserve(kept, 1);
  const mapping = file.map();
  const { bytes } = mapping;
  expect([bytes.byteOffset, bytes.buffer.byteLength]).toEqual([0, LENGTH]);
  const taken = await TAKE[take](bytes);
  expect([allAre(file, 65), allAre(other, 66)]).toEqual([true, true]);
  await END[end](machine, mapping, file);
  mapping.unmap();
  mapping.unmap();
  expect(bytes.length).toBe(0);
  // What is stored late reaches nobody: not the file, nor whoever has its pages since.
  const storeLate = (): void => {
    bytes.fill(88);
    if (taken.byteLength > 0) new Uint8Array(taken).fill(88);
  };
  if (end === 'remove()') {
    storeLate();
    return;
  }
  if (end.includes('unmap')) {
    const next = fillMemory(machine);
    storeLate();
    expect([allAre(other, 66), next(), allAre(kept, 67)]).toEqual([true, true, true]);
    if (end === 'unmap()') expect(allAre(file, 65)).toBe(true);
    machine.kernel.pages.assertConsistent();
    await machine.handOver();
  }
  const successor = await open();
  const next = fillMemory(successor);
  storeLate();
  expect(next()).toBe(true);
  if (end.includes('machine')) return; // which hands nothing over
  expect(allAre(await successor.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile), 67)).toBe(true);
});

/**
 * Makes files of all memory that is free but for some, so that they have what others had. Whether
 * they hold what was put in.
 */
function fillMemory({ kernel: { pages, shmem } }: Machine): () => boolean {
  const file = shmem.memfdCreate('next');
  const content = Buffer.alloc((pages.freePages - 256) * PAGE_SIZE, 68);
  file.write(content);
  return () => {
    const bytes = Buffer.alloc(file.size);
    file.pread(bytes, 0);
    file.close();
    return bytes.equals(content);
  };
}

test('a kexec that fails leaves views as they are', async () => {
  const machine = await open();
  const { file } = files(machine, true);
  const mapping = file.map();
  process.once(BEFORE_REPLACE_EVENT, () => {
    throw new RangeError('after the seal');
  });
  await expect(machine.kexec()).rejects.toThrow(RangeError);
  mapping.bytes[5] = 9;
  const byte = new Uint8Array(1);
  file.pread(byte, 5);
  expect([mapping.bytes.length, byte[0]]).toEqual([LENGTH, 9]);
  mapping.unmap();
});

describe('memory that handlers and programs are given', () => {
  test.each<[string, (parts: KernelParts) => Uint8Array]>([
    ['allocPreserve', ({ kho }) => kho.allocPreserve(PAGE_SIZE).bytes],
    ['at', ({ kho }) => kho.at(BigInt(kho.allocPreserve(PAGE_SIZE).pa)).bytes],
    ['folioBytes', ({ pages }) => pages.folioBytes(pages.alloc(0))],
    ['ram.bytes', ({ ram }) => ram.bytes(4 * PAGE_SIZE, PAGE_SIZE)],
  ])('%s: it may be taken away, and the machine goes on', async (_, give) => {
    const machine = await open();
    const { luo, shmem } = machine.kernel;
    const bytes = give(machine.kernel);
    const taken = (bytes.buffer as ArrayBuffer).transfer();
    expect(bytes.length).toBe(0);
    const file = shmem.memfdCreate('f');
    file.write(new Uint8Array(LENGTH).fill(7));
    await luo.createSession('s').preserve(file, 1);
    expect(give(machine.kernel).length).toBe(PAGE_SIZE);
    machine.kernel.pages.assertConsistent();
    await machine.handOver();
    new Uint8Array(taken).fill(88); // memory of nobody by now
    const next = await open();
    expect(allAre(await next.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile), 7)).toBe(true);
  });

  test('what a handler stored is there, whoever took its bytes since', async () => {
    const { kho } = (await open()).kernel;
    const block = kho.allocPreserve(PAGE_SIZE);
    block.bytes[9] = 4;
    (block.bytes.buffer as ArrayBuffer).transfer();
    expect(kho.at(block.pa).bytes[9]).toBe(4);
  });
});
