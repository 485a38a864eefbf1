/** Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and nothing is changed. */
import { KernelError } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { MEMFD_V2 } from './abi.ts';
import { memfdHandler, type MemfdHandlerInit } from './memfd-handler.ts';
import { readMemfdRecord } from './read-memfd.ts';
import { coldKernel, snapshot, type TestKernel } from './test-kernel.ts';

const NO_OBJECT = [undefined, null, 5, 'a', 5n, true, Symbol('a')];

const CALLS: Record<
  string,
  [call: (kernel: TestKernel, given: never) => unknown, wrong: readonly unknown[]]
> = {
  memfdHandler: [(_, given: MemfdHandlerInit) => memfdHandler(given), [...NO_OBJECT, {}]],
  'memfdHandler kho': [({ shmem }, kho: MemfdHandlerInit['kho']) => memfdHandler({ kho, shmem }), NO_OBJECT],
  'memfdHandler shmem': [
    ({ kho }, shmem: MemfdHandlerInit['shmem']) => memfdHandler({ kho, shmem }),
    NO_OBJECT,
  ],
  'readMemfdRecord address': [
    ({ kho }, given: number) => readMemfdRecord(kho.ram, given, MEMFD_V2),
    [Number.NaN, 0.5, 5, -4096, '4096', 5n, ...NO_OBJECT],
  ],
  'readMemfdRecord version': [
    ({ kho }, given: string) => readMemfdRecord(kho.ram, 4096, given),
    ['memfd-v3', '', ...NO_OBJECT],
  ],
};

const rows = Object.entries(CALLS).flatMap(([name, [call, wrong]]) =>
  wrong.map((given, i) => ({ title: `${name}, wrong kind ${i + 1} (${typeof given})`, call, given })),
);

test.each(rows)('$title', ({ call, given }) => {
  const kernel = coldKernel({}, 2 ** 20);
  const before = snapshot(kernel);
  let thrown: unknown;
  try {
    call(kernel, given as never);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(KernelError);
  expect((thrown as KernelError).code).toBe('EINVAL');
  expect(snapshot(kernel)).toBe(before);
});
