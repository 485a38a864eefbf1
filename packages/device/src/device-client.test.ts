/** What is told where there is no live update. The real device is tried in a guest of its own. */
import * as fs from 'node:fs';
import { KernelError } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { DeviceClient, DeviceSession, openDevice } from './index.ts';

/** The error of a call, which must be one of ours. */
function refusal(call: () => unknown): KernelError {
  try {
    call();
  } catch (error) {
    if (error instanceof KernelError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

test.each([
  ['no device', '/dev/liveupdate-none', 'ENOENT', /Linux 6\.19/],
  ['no folder', '/dev/null/liveupdate', 'ENOTDIR', /opening/],
  ['a file', '/proc/self/exe', 'ETXTBSY', /opening/],
  ['a device of another kind', '/dev/null', 'ENOTTY', /no device of live updates|does not know/],
])('%s is one sentence', (_, path, code, says) => {
  const { code: got, message } = refusal(() => openDevice(path).createSession('s'));
  expect(got).toBe(code);
  expect(message).toMatch(says);
  expect(message).not.toContain('\n');
});

test('a folder is no device', () => {
  expect(refusal(() => openDevice('/')).code).toBe('EISDIR');
});

test('closed is EBADF, and closing twice is once', () => {
  const client = new DeviceClient(fs.openSync('/dev/null', 'r+'));
  const session = new DeviceSession(fs.openSync('/dev/null', 'r+'));
  for (const each of [client, session]) {
    each.close();
    each.close();
    expect(refusal(() => each.fd).code).toBe('EBADF');
  }
  const calls = [
    () => client.createSession('s'),
    () => session.name,
    () => session.retrieveFd(1),
    () => {
      session.preserveFd(0, 1);
    },
    () => {
      session.finish();
    },
  ];
  for (const call of calls) expect(refusal(call).code).toBe('EBADF');
});

test('what is no session says so, with what was tried', () => {
  using session = new DeviceSession(fs.openSync('/dev/null', 'r+'));
  for (const call of [() => session.name, () => session.retrieveFd(2n ** 64n - 1n)])
    expect(refusal(call)).toMatchObject({
      code: 'ENOTTY',
      message: expect.stringContaining('6.19') as string,
    });
});
