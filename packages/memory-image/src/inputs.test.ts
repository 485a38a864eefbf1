/** Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError. */
import {
  BYTES_IN_ALL_SHAPES,
  FORTY_BYTES,
  NO_BYTES,
  NO_FLAG,
  NO_FUNCTION,
  NO_LIST,
  NO_OBJECT,
  NO_WHOLE,
  except,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';

import { PAGE_SIZE } from '@liveupdate/base';
import { expect, test } from 'vitest';
import {
  ElfCoreRam,
  fillFromSegments,
  isElf,
  rawImageRam,
  readElfCore,
  type ReadableBytes,
} from './elf-core-ram.ts';
import { elfCore } from './test-elf.ts';
import { openMemoryImage, type MemoryImage, type MemoryImageOptions } from './index.ts';
import { fileOf } from './test-images.ts';

const SIZE = 16 * PAGE_SIZE;
const NO_FILE: ReadableBytes = { size: 0, read: (into) => into.fill(0) };
const NO_SIZE = [...NO_WHOLE, 0, 5000, 2 ** 45];
const FILE = fileOf(new Uint8Array(8192));

const CALLS: Record<string, InputCall<MemoryImage>> = {
  isElf: [(_, given: Uint8Array) => isElf(given), NO_BYTES],
  'readElfCore file': [(_, given: ReadableBytes) => readElfCore(given), [...NO_OBJECT, {}, { size: 64 }]],
  'readElfCore onDamage': [
    (_, given: () => void) => readElfCore(NO_FILE, given),
    NO_FUNCTION.filter((given) => given !== undefined),
  ],
  'fillFromSegments file': [
    (_, given: ReadableBytes) => fillFromSegments(given, [], new Uint8Array(1), 0),
    NO_OBJECT,
  ],
  'fillFromSegments segments': [
    (_, given: []) => fillFromSegments(NO_FILE, given, new Uint8Array(1), 0),
    NO_LIST,
  ],
  'fillFromSegments block': [(_, given: Uint8Array) => fillFromSegments(NO_FILE, [], given, 0), NO_BYTES],
  'fillFromSegments pa': [
    (_, given: number) => fillFromSegments(NO_FILE, [], new Uint8Array(1), given),
    NO_WHOLE,
  ],
  'new ElfCoreRam file': [(_, given: Uint8Array) => new ElfCoreRam(given), [...NO_BYTES, new Uint8Array(64)]],
  'new ElfCoreRam size': [
    (_, given: number) => new ElfCoreRam(elfCore([{ pa: 0, bytes: new Uint8Array(SIZE) }]), given),
    [...optional(NO_SIZE), SIZE - PAGE_SIZE],
  ],
  rawImageRam: [(_, given: Uint8Array) => rawImageRam(given), [...NO_BYTES, new Uint8Array(0)]],
  'openMemoryImage file': [
    (_, given: ReadableBytes) => openMemoryImage(given),
    [...NO_OBJECT, {}, { size: -1, read: () => 1 }, { size: 5 }],
  ],
  'openMemoryImage options': [
    (_, given: MemoryImageOptions) => openMemoryImage(FILE, given),
    [...except(NO_OBJECT, undefined), { row: true }],
  ],
  'openMemoryImage raw': [(_, raw: boolean) => openMemoryImage(FILE, { raw }), except(NO_FLAG, undefined)],
  'ram size': [(image, given: number) => image.ram(given), [...optional(NO_WHOLE), 0, 8193]],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const image = openMemoryImage(FILE);
  await expectRefused(() => call(image));
});

test.each(BYTES_IN_ALL_SHAPES)('the bytes of a %s are taken whole', (_, given) => {
  const raw = rawImageRam(given);
  expect([raw.size, new Uint8Array(raw.bytes(0, 40))]).toEqual([PAGE_SIZE, FORTY_BYTES]);
  const core = elfCore([{ pa: 0, bytes: FORTY_BYTES }]);
  const file = new Float64Array(Math.ceil(core.length / 8));
  new Uint8Array(file.buffer).set(core);
  expect(isElf(file)).toBe(true);
  expect(new Uint8Array(new ElfCoreRam(file).bytes(0, 40))).toEqual(FORTY_BYTES);
});
