/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import {
  NO_OBJECT,
  NO_WHOLE,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { bootCold, type Kho } from '@liveupdate/kho';
import { HeapRam } from '@liveupdate/mm';
import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { FdFile } from './fd-file.ts';
import { fdHandler, type FdHandlerInit } from './fd-handler.ts';
import { SharedFdStore } from './shared-fd-store.ts';

interface World {
  readonly kho: Kho;
  readonly file: FdFile;
  readonly store: SharedFdStore;
}

const CALLS: Record<string, InputCall<World>> = {
  'new FdFile': [(_, given: number) => new FdFile(given), NO_WHOLE],
  'new FdFile before': [(_, given: number) => new FdFile(2, given), optional(NO_WHOLE)],
  moveTo: [
    ({ file }, given: number) => {
      file.moveTo(given);
    },
    NO_WHOLE,
  ],
  fdHandler: [(_, given: FdHandlerInit) => fdHandler(given), [...NO_OBJECT, {}, { kho: null }]],
  'fdHandler store': [({ kho }, fds: FdHandlerInit['fds']) => fdHandler({ kho, fds }), optional(NO_OBJECT)],
  'store keep': [({ store }, given: number) => store.keep(given), NO_WHOLE],
  'store drop': [
    ({ store }, given: number) => {
      store.drop(given);
    },
    NO_WHOLE,
    'ENOENT',
  ],
  'store take': [({ store }, given: number) => store.take(given), NO_WHOLE, 'ENOENT'],
};

const open = (): number => readdirSync('/proc/self/fd').length;

test.each(inputRows(CALLS))('$title is $code', async ({ call, code }) => {
  const world = { kho: bootCold(new HeapRam(2 ** 20)), file: new FdFile(2), store: new SharedFdStore() };
  const before = open();
  await expectRefused(() => call(world), code);
  expect([world.file.fd, world.store.size, open()]).toEqual([2, 0, before]);
});
