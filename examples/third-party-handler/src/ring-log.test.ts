import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bootCold } from '@liveupdate/kho';
import { HeapRam } from '@liveupdate/mm';
import { RingLog } from './ring-log.ts';

test('the newest lines push out the oldest', () => {
  const log = RingLog.create(bootCold(new HeapRam(2 ** 20)).pages);
  const all: string[] = [];
  for (let i = 0; i < 500; i++) {
    const line = `${i} `.repeat(i % 97);
    log.append(line);
    all.push(line);
    const lines = [...log.lines()];
    assert.deepEqual(lines, all.slice(-lines.length));
    assert.ok(log.length > (i < 100 ? 0 : 3500) && log.length <= 4096);
  }
  assert.throws(() => log.append('x'.repeat(4095)), { code: 'EINVAL' });
  log.put();
  assert.throws(() => log.append(''), { code: 'EBADF' });
});
