/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import {
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  expectRefused,
  inputRows,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { expect, test } from 'vitest';
import { MEMFD_V2 } from './abi.ts';
import { memfdHandler, type MemfdHandlerInit } from './memfd-handler.ts';
import { readMemfdRecord } from './read-memfd.ts';
import { coldKernel, snapshot, type TestKernel } from './test-kernel.ts';

const CALLS: Record<string, InputCall<TestKernel>> = {
  memfdHandler: [(_, given: MemfdHandlerInit) => memfdHandler(given), [...NO_OBJECT, {}]],
  'memfdHandler kho': [({ shmem }, kho: MemfdHandlerInit['kho']) => memfdHandler({ kho, shmem }), NO_OBJECT],
  'memfdHandler shmem': [
    ({ kho }, shmem: MemfdHandlerInit['shmem']) => memfdHandler({ kho, shmem }),
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
