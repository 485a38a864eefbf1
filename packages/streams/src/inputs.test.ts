/** Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and the file is held by nobody. */
import { KernelError } from '@liveupdate/base';
import { HeapRam, PageAllocator, PageTable } from '@liveupdate/mm';
import { Shmem, type ShmemFile } from '@liveupdate/shmem';
import { expect, test } from 'vitest';
import { createReadStream, createWriteStream } from './file-streams.ts';

const NO_WHOLE = [Number.NaN, 0.5, -1, 2 ** 53, null, '5', 5n, true, {}, [5], Symbol('5'), () => 5];
const NO_OBJECT = [null, 5, 'a', 5n, true, Symbol('a')];

const CALLS: Record<string, [call: (file: ShmemFile, given: never) => unknown, wrong: readonly unknown[]]> = {
  'createReadStream file': [(_, given: ShmemFile) => createReadStream(given), [undefined, ...NO_OBJECT, {}]],
  'createReadStream options': [
    (file, given: object) => createReadStream(file, given),
    [...NO_OBJECT, { begin: 1 }, { Start: 1 }],
  ],
  'createReadStream start': [
    (file, start: number) => createReadStream(file, { start }),
    [...NO_WHOLE, Infinity],
  ],
  'createReadStream end': [(file, end: number) => createReadStream(file, { end }), NO_WHOLE],
  'createReadStream highWaterMark': [
    (file, highWaterMark: number) => createReadStream(file, { highWaterMark }),
    [...NO_WHOLE, Infinity, 0],
  ],
  'createWriteStream file': [
    (_, given: ShmemFile) => createWriteStream(given),
    [undefined, ...NO_OBJECT, {}],
  ],
  'createWriteStream options': [
    (file, given: object) => createWriteStream(file, given),
    [...NO_OBJECT, { end: 1 }],
  ],
  'createWriteStream start': [
    (file, start: number) => createWriteStream(file, { start }),
    [...NO_WHOLE, Infinity],
  ],
  'createWriteStream highWaterMark': [
    (file, highWaterMark: number) => createWriteStream(file, { highWaterMark }),
    [...NO_WHOLE, Infinity, 0],
  ],
};

const rows = Object.entries(CALLS).flatMap(([name, [call, wrong]]) =>
  wrong.map((given, i) => ({ title: `${name}, wrong kind ${i + 1} (${typeof given})`, call, given })),
);

const table = new PageTable(2 ** 20);
table.reserve(0, 1);
const pages = new PageAllocator(new HeapRam(2 ** 20), table);

test.each(rows)('$title', ({ call, given }) => {
  const shmem = new Shmem({ pages });
  const file = shmem.memfdCreate('f');
  file.write(new Uint8Array(10));
  let thrown: unknown;
  try {
    call(file, given as never);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(KernelError);
  expect((thrown as KernelError).code).toBe('EINVAL');
  file.close();
  expect([file.isOpen, shmem.used]).toEqual([false, 0]);
});
