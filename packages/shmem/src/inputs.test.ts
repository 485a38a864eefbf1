/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import { PAGE_SIZE, type Bytes } from '@liveupdate/base';
import {
  NO_BYTES,
  NO_LIST,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  except,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { expect, test } from 'vitest';
import { MFD_ALLOW_SEALING, sealNames } from './seals.ts';
import { ShmemFile } from './shmem-file.ts';
import type { ShmemOptions } from './mount.ts';
import { Shmem } from './shmem.ts';
import { contents, mount, pattern, snapshot } from './test-mount.ts';

const NO_SOURCES = [...NO_LIST, new Uint8Array(3), [5], [new Uint8Array(1), null]];

interface World {
  readonly shmem: Shmem;
  readonly file: ShmemFile;
}

const one = (): Uint8Array => new Uint8Array(1);

const CALLS: Record<string, InputCall<World>> = {
  'new Shmem': [(_, given: ShmemOptions) => new Shmem(given), [...NO_OBJECT, {}]],
  'Shmem pages': [(_, pages: ShmemOptions['pages']) => new Shmem({ pages }), NO_OBJECT],
  'Shmem huge': [
    ({ shmem: { pages } }, huge: 'never') => new Shmem({ pages, huge }),
    ['', 'Always', 'madvise', null, 5, true, {}],
  ],
  'Shmem blockLimit': [
    ({ shmem: { pages } }, blockLimit: number) => new Shmem({ pages, blockLimit }),
    except(NO_WHOLE, undefined, Infinity),
  ],
  'Shmem memoryLimit': [
    ({ shmem: { pages } }, memoryLimit: number) => new Shmem({ pages, memoryLimit }),
    except(NO_WHOLE, undefined, Infinity),
  ],
  'Shmem options': [
    ({ shmem: { pages } }, name: string) => new Shmem({ pages, [name]: 1 }),
    ['Huge', 'size', 'limit'],
  ],
  'memfdCreate name': [({ shmem }, given: string) => shmem.memfdCreate(given), [...NO_TEXT, 'a'.repeat(250)]],
  'memfdCreate flags': [
    ({ shmem }, given: number) => shmem.memfdCreate('f', given),
    [...optional(NO_WHOLE), 32, 24],
  ],
  create: [({ shmem }, given: string) => shmem.create(given), [...NO_TEXT, '', '.', '..', 'a/b', 'a\0']],
  open: [({ shmem }, given: string) => shmem.open(given), NO_TEXT],
  'link from': [
    ({ shmem }, given: string) => {
      shmem.link(given, 'new');
    },
    NO_TEXT,
  ],
  'link to': [
    ({ shmem }, given: string) => {
      shmem.link('named', given);
    },
    [...NO_TEXT, '', 'a/b'],
  ],
  unlink: [
    ({ shmem }, given: string) => {
      shmem.unlink(given);
    },
    NO_TEXT,
  ],
  'new ShmemFile': [(_, given: ShmemFile['inode']) => new ShmemFile(given), [...NO_OBJECT, {}]],
  'seek offset': [({ file }, given: number) => file.seek(given), NO_WHOLE],
  'seek whence': [({ file }, given: number) => file.seek(0, given), [...optional(NO_WHOLE), 6]],
  read: [({ file }, given: Bytes) => file.read(given), NO_BYTES],
  write: [({ file }, given: Bytes) => file.write(given), NO_BYTES],
  readv: [({ file }, given: Bytes[]) => file.readv(given), NO_SOURCES],
  writev: [({ file }, given: Bytes[]) => file.writev(given), NO_SOURCES],
  'pread target': [({ file }, given: Bytes) => file.pread(given, 0), NO_BYTES],
  'pread position': [({ file }, given: number) => file.pread(one(), given), NO_WHOLE],
  'pwrite source': [({ file }, given: Bytes) => file.pwrite(given, 0), NO_BYTES],
  'pwrite position': [({ file }, given: number) => file.pwrite(one(), given), NO_WHOLE],
  'preadv targets': [({ file }, given: Bytes[]) => file.preadv(given, 0), NO_SOURCES],
  'preadv position': [({ file }, given: number) => file.preadv([one()], given), NO_WHOLE],
  'pwritev sources': [({ file }, given: Bytes[]) => file.pwritev(given, 0), NO_SOURCES],
  'pwritev position': [({ file }, given: number) => file.pwritev([one()], given), NO_WHOLE],
  truncate: [
    ({ file }, given: number) => {
      file.truncate(given);
    },
    NO_WHOLE,
  ],
  'allocate position': [
    ({ file }, given: number) => {
      file.allocate(given, 1);
    },
    NO_WHOLE,
  ],
  'allocate length': [
    ({ file }, given: number) => {
      file.allocate(0, given);
    },
    [...NO_WHOLE, 0],
  ],
  'fallocate mode': [
    ({ file }, given: number) => {
      file.fallocate(given, 0, 1);
    },
    NO_WHOLE,
  ],
  'fallocate position': [
    ({ file }, given: number) => {
      file.fallocate(3, given, 1);
    },
    NO_WHOLE,
  ],
  'fallocate length': [
    ({ file }, given: number) => {
      file.fallocate(3, 0, given);
    },
    [...NO_WHOLE, 0],
  ],
  addSeals: [
    ({ file }, given: number) => {
      file.addSeals(given);
    },
    [...NO_WHOLE, 64],
  ],
  'map options': [
    ({ file }, given: object) => file.map(given),
    [...optional(NO_OBJECT), { readonly: true }, { readOnly: 1 }, { readOnly: 'no' }, { readOnly: null }],
  ],
  sealNames: [(_, given: number) => sealNames(given), [...NO_WHOLE, 2 ** 32]],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const shmem = mount();
  shmem.create('named').close();
  const file = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
  file.write(pattern(2 * PAGE_SIZE));
  const before = snapshot(shmem);
  await expectRefused(() => call({ shmem, file }));
  expect(snapshot(shmem)).toBe(before);
  expect([file.position, file.size, file.seals, shmem.names]).toEqual([
    2 * PAGE_SIZE,
    2 * PAGE_SIZE,
    0,
    ['named'],
  ]);
  expect(Buffer.compare(contents(file), pattern(2 * PAGE_SIZE))).toBe(0);
});
