/** Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and nothing is changed. */
import { KernelError } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { EventFd } from './event-fd.ts';
import { eventfdHandler, type EventFdHandlerInit } from './eventfd-handler.ts';

const NO_COUNT = [
  Number.NaN,
  Infinity,
  0.5,
  -1,
  2 ** 53,
  -1n,
  2n ** 64n - 1n,
  null,
  '5',
  true,
  {},
  [5],
  Symbol('5'),
  () => 5,
  Object.create(null) as unknown,
];
const NO_FLAGS = [Number.NaN, Infinity, 0.5, -1, 2, 5n, null, '1', true, {}, Symbol('1')];
const NO_OBJECT = [undefined, null, 5, 'a', 5n, true, Symbol('a')];

const CALLS: Record<string, [call: (file: EventFd, given: never) => unknown, wrong: readonly unknown[]]> = {
  'new EventFd count': [(_, given: number) => new EventFd(given), NO_COUNT],
  'new EventFd flags': [(_, given: number) => new EventFd(0, given), NO_FLAGS],
  write: [(file, given: number) => file.write(given), [undefined, ...NO_COUNT]],
  isNonBlocking: [
    (file, given: boolean) => {
      file.isNonBlocking = given;
    },
    [undefined, null, 0, 1, 'yes', {}],
  ],
  eventfdHandler: [
    (_, given: EventFdHandlerInit) => eventfdHandler(given),
    [...NO_OBJECT, {}, { kho: null }],
  ],
};

const rows = Object.entries(CALLS).flatMap(([name, [call, wrong]]) =>
  wrong.map((given, i) => ({ title: `${name}, wrong kind ${i + 1} (${typeof given})`, call, given })),
);

test.each(rows)('$title', async ({ call, given }) => {
  const file = new EventFd(7);
  let thrown: unknown;
  try {
    await call(file, given as never);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(KernelError);
  expect((thrown as KernelError).code).toBe('EINVAL');
  expect([file.count, file.flags]).toEqual([7n, 0]);
});
