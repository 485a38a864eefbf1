/** Everything that a caller can pass, of the wrong kind: an error with the code EINVAL. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Bytes } from '@liveupdate/base';
import {
  inputRows,
  NO_BYTES,
  NO_FUNCTION,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { bootCold, type EntryRecord } from '@liveupdate/kho';
import { SparseRam, withMemoryMap, type Ram } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { pcMemoryMap, writeBootImage, type BootImageOptions } from './boot-image.ts';
import { readKernelImage } from './kernel-image.ts';
import { fakeKernel } from './test-kernel.ts';

const SIZE = 64 * 2 ** 20;
const ram = withMemoryMap(new SparseRam(SIZE), pcMemoryMap(SIZE));
const { entry } = bootCold(ram, { scratch: [{ addr: SIZE / 2, size: SIZE / 4 }] });
const folder = join(tmpdir(), `liveupdate-boot-image-inputs-${process.pid}`);
const WHOLE: BootImageOptions = { ram, entry, kernel: fakeKernel() };
const write = (given: object): Promise<unknown> => writeBootImage(folder, { ...WHOLE, ...given });

const CALLS: Record<string, InputCall<undefined>> = {
  'pcMemoryMap size': [(_, size: number) => pcMemoryMap(size), NO_WHOLE],
  'readKernelImage file': [(_, file: Bytes) => readKernelImage(file), NO_BYTES],
  'writeBootImage folder': [(_, path: string) => writeBootImage(path, WHOLE), NO_TEXT],
  'writeBootImage options': [(_, options: BootImageOptions) => writeBootImage(folder, options), NO_OBJECT],
  'writeBootImage unknown option': [(_, given: object) => write(given), [{ memory: 1 }]],
  'writeBootImage ram': [(_, given: Ram) => write({ ram: given }), NO_OBJECT],
  'writeBootImage size': [(_, size: number) => write({ size }), optional(NO_WHOLE)],
  'writeBootImage entry': [(_, given: EntryRecord) => write({ entry: given }), NO_OBJECT],
  'writeBootImage kernel': [(_, kernel: Bytes) => write({ kernel }), NO_BYTES],
  'writeBootImage onProgress': [(_, onProgress: () => void) => write({ onProgress }), optional(NO_FUNCTION)],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  await expect(Promise.resolve().then(() => call(undefined))).rejects.toMatchObject({ code: 'EINVAL' });
  expect(fs.existsSync(folder)).toBe(false);
});
