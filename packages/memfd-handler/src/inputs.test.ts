/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import {
  NO_FUNCTION,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  expectRefused,
  inputRows,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import type { PageTable } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { MEMFD_V2 } from './abi.ts';
import { memfdHandler, type MemfdHandlerInit } from './memfd-handler.ts';
import { readMemfdFolios, readMemfdRecord, readMemfdRuns, type MemfdRecord } from './read-memfd.ts';
import { coldKernel, snapshot, type TestKernel } from './test-kernel.ts';

const EMPTY_RECORD: MemfdRecord = {
  position: 0,
  size: 0,
  seals: 0,
  folioCount: 0,
  array: { first: 0, totalPages: 0, flags: 0, order: 0 },
};

const CALLS: Record<string, InputCall<TestKernel>> = {
  memfdHandler: [(_, given: MemfdHandlerInit) => memfdHandler(given), [...NO_OBJECT, {}]],
  'memfdHandler kho': [({ shmem }, kho: MemfdHandlerInit['kho']) => memfdHandler({ kho, shmem }), NO_OBJECT],
  'memfdHandler shmem': [
    ({ kho }, shmem: MemfdHandlerInit['shmem']) => memfdHandler({ kho, shmem }),
    NO_OBJECT,
  ],
  'readMemfdFolios record': [
    ({ kho }, given: MemfdRecord) => readMemfdFolios(kho.ram, given, () => 0),
    [...NO_OBJECT, {}],
  ],
  'readMemfdFolios orders': [
    ({ kho }, given: () => number) => readMemfdFolios(kho.ram, EMPTY_RECORD, given),
    NO_FUNCTION,
  ],
  'readMemfdRuns record': [
    ({ kho }, given: MemfdRecord) => readMemfdRuns(kho.ram, given, kho.pages.table),
    [...NO_OBJECT, {}],
  ],
  'readMemfdRuns table': [
    ({ kho }, given: PageTable) => readMemfdRuns(kho.ram, EMPTY_RECORD, given),
    NO_OBJECT,
  ],
  'readMemfdRecord address': [
    ({ kho }, given: number) => readMemfdRecord(kho.ram, given, MEMFD_V2),
    [...NO_WHOLE, 5, -4096, '4096'],
  ],
  'readMemfdRecord version': [
    ({ kho }, given: string) => readMemfdRecord(kho.ram, 4096, given),
    ['memfd-v3', '', ...NO_TEXT],
  ],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const kernel = coldKernel({}, 2 ** 20);
  const before = snapshot(kernel);
  await expectRefused(() => call(kernel));
  expect(snapshot(kernel)).toBe(before);
});
