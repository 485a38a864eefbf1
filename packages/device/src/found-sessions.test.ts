import { expect, test } from 'vitest';
import { checkDevice, findSessions } from './index.ts';

test('where there are no live updates, no process holds a session', () => {
  expect(findSessions()).toEqual([]);
});

test.each([
  ['/dev/liveupdate-none', 'ENOENT'],
  ['/proc/self/comm', 'ENOTTY'],
])('checkDevice of %s', (path, code) => {
  expect(() => {
    checkDevice(path);
  }).toThrow(expect.objectContaining({ code }));
});
