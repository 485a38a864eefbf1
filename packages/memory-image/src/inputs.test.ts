/** Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError. */
import {
  NO_FLAG,
  NO_OBJECT,
  NO_WHOLE,
  except,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import type { ReadableBytes } from '@liveupdate/mm';
import { test } from 'vitest';
import { openMemoryImage, type MemoryImage, type MemoryImageOptions } from './index.ts';
import { fileOf } from './test-images.ts';

const FILE = fileOf(new Uint8Array(8192));

const CALLS: Record<string, InputCall<MemoryImage>> = {
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
