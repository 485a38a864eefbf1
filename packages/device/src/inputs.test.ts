/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import * as fs from 'node:fs';
import {
  expectRefused,
  inputRows,
  NO_TEXT,
  NO_WHOLE,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { expect, test } from 'vitest';
import { DeviceClient } from './device-client.ts';
import { DeviceSession, openDevice } from './index.ts';

interface World {
  readonly client: DeviceClient;
  readonly session: DeviceSession;
}

const NO_FD = [...NO_WHOLE, 2 ** 31];
const NO_NAME = [...NO_TEXT, '', 'x'.repeat(64), 'a\0', 'ü'.repeat(32)];
const NO_TOKEN = [...NO_WHOLE.filter((given) => typeof given !== 'bigint'), -1n, 2n ** 64n];

const CALLS: Record<string, InputCall<World>> = {
  openDevice: [(_, path: string) => openDevice(path), [...optional(NO_TEXT), '', 'a\0']],
  createSession: [({ client }, name: string) => client.createSession(name), NO_NAME],
  retrieveSession: [({ client }, name: string) => client.retrieveSession(name), NO_NAME],
  'new DeviceSession': [(_, fd: number) => new DeviceSession(fd), NO_FD],
  'preserveFd fd': [
    ({ session }, fd: number) => {
      session.preserveFd(fd, 1);
    },
    NO_FD,
  ],
  'preserveFd token': [
    ({ session }, token: bigint) => {
      session.preserveFd(0, token);
    },
    NO_TOKEN,
  ],
  retrieveFd: [({ session }, token: bigint) => session.retrieveFd(token), NO_TOKEN],
};

const open = (): number => fs.readdirSync('/proc/self/fd').length;

test.each(inputRows(CALLS))('$title is $code', async ({ call, code }) => {
  using client = new DeviceClient(fs.openSync('/dev/null', 'r+'));
  using session = new DeviceSession(fs.openSync('/dev/null', 'r+'));
  const before = open();
  await expectRefused(() => call({ client, session }), code);
  expect(open()).toBe(before);
});
