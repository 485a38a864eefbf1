/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and the
 * file is held by nobody.
 */
import {
  NO_OBJECT,
  NO_WHOLE,
  except,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { HeapRam, PageAllocator, PageTable } from '@liveupdate/mm';
import { Shmem, type ShmemFile } from '@liveupdate/shmem';
import { expect, test } from 'vitest';
import { createReadStream, createWriteStream } from './file-streams.ts';

const CALLS: Record<string, InputCall<ShmemFile>> = {
  'createReadStream file': [(_, given: ShmemFile) => createReadStream(given), [...NO_OBJECT, {}]],
  'createReadStream options': [
    (file, given: object) => createReadStream(file, given),
    [...optional(NO_OBJECT), { begin: 1 }, { Start: 1 }],
  ],
  'createReadStream start': [(file, start: number) => createReadStream(file, { start }), optional(NO_WHOLE)],
  'createReadStream end': [
    (file, end: number) => createReadStream(file, { end }),
    except(NO_WHOLE, undefined, Infinity),
  ],
  'createReadStream highWaterMark': [
    (file, highWaterMark: number) => createReadStream(file, { highWaterMark }),
    [...optional(NO_WHOLE), 0],
  ],
  'createWriteStream file': [(_, given: ShmemFile) => createWriteStream(given), [...NO_OBJECT, {}]],
  'createWriteStream options': [
    (file, given: object) => createWriteStream(file, given),
    [...optional(NO_OBJECT), { end: 1 }],
  ],
  'createWriteStream start': [
    (file, start: number) => createWriteStream(file, { start }),
    optional(NO_WHOLE),
  ],
  'createWriteStream highWaterMark': [
    (file, highWaterMark: number) => createWriteStream(file, { highWaterMark }),
    [...optional(NO_WHOLE), 0],
  ],
};

const table = new PageTable(2 ** 20);
table.reserve(0, 1);
const pages = new PageAllocator(new HeapRam(2 ** 20), table);

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const shmem = new Shmem({ pages });
  const file = shmem.memfdCreate('f');
  file.write(new Uint8Array(10));
  await expectRefused(() => call(file));
  file.close();
  expect([file.isOpen, shmem.used]).toEqual([false, 0]);
});
