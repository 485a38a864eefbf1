/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
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
import { expect, test } from 'vitest';
import { EventFd } from './event-fd.ts';
import { eventfdHandler, type EventFdHandlerInit } from './eventfd-handler.ts';

const NO_COUNT = [...except(NO_WHOLE, 5n), -1n, 2n ** 64n - 1n, Object.create(null) as unknown];
const NO_FLAGS = [...optional(NO_WHOLE), 2];

const CALLS: Record<string, InputCall<EventFd>> = {
  'new EventFd count': [(_, given: number) => new EventFd(given), optional(NO_COUNT)],
  'new EventFd flags': [(_, given: number) => new EventFd(0, given), NO_FLAGS],
  write: [(file, given: number) => file.write(given), NO_COUNT],
  isNonBlocking: [
    (file, given: boolean) => {
      file.isNonBlocking = given;
    },
    NO_FLAG,
  ],
  eventfdHandler: [
    (_, given: EventFdHandlerInit) => eventfdHandler(given),
    [...NO_OBJECT, {}, { kho: null }],
  ],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const file = new EventFd(7);
  await expectRefused(() => call(file));
  expect([file.count, file.flags]).toEqual([7n, 0]);
});
