/**
 * Random calls on an EventFd and on a real eventfd of this machine: the same results, errors and
 * poll events, call by call.
 */
import { closeSync, readSync, writeSync } from 'node:fs';
import { codeOf } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { eventfd, pollNow } from '@liveupdate/linux';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EFD_NONBLOCK, EFD_SEMAPHORE, EventFd, POLLIN, POLLOUT } from './event-fd.ts';

const MAX_U64 = 2n ** 64n - 1n;

/** `undefined` reads, a number writes. */
type Call = bigint | undefined;

const value = fc.oneof(
  fc.bigInt(0n, 4n),
  fc.bigInt(MAX_U64 - 4n, MAX_U64),
  fc.bigInt(0n, MAX_U64),
  fc.constant(MAX_U64 / 2n),
);
const calls = fc.array(fc.oneof(fc.constant(undefined), value), { maxLength: 40 });

function real(fd: number, call: Call): string {
  const bytes = new BigUint64Array(1);
  try {
    if (call === undefined) {
      readSync(fd, bytes);
      return String(bytes[0]);
    }
    bytes[0] = call;
    writeSync(fd, bytes);
    return 'written';
  } catch (error) {
    return codeOf(error);
  }
}

async function ours(file: EventFd, call: Call): Promise<string> {
  try {
    if (call === undefined) return String(await file.read());
    await file.write(call);
    return 'written';
  } catch (error) {
    return codeOf(error);
  }
}

test('as the eventfd of this machine', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(2 ** 32 - 1), fc.boolean(), calls, async (initial, isSemaphore, all) => {
      const flags = EFD_NONBLOCK | (isSemaphore ? EFD_SEMAPHORE : 0);
      const fd = eventfd(initial, flags);
      try {
        const file = new EventFd(initial, flags);
        for (const call of all) {
          expect([await ours(file, call), file.poll()]).toEqual([
            real(fd, call),
            pollNow(fd, POLLIN | POLLOUT),
          ]);
        }
      } finally {
        closeSync(fd);
      }
    }),
    { seed, numRuns: 500 },
  );
});

test('unknown flags are refused by both', () => {
  for (const flags of [2, 4, 1 << 20, EFD_SEMAPHORE | 8]) {
    expect(() => eventfd(0, flags)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => new EventFd(0, flags)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  }
});
