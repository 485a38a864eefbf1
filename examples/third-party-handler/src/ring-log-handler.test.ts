import * as test from 'node:test';
import { testFileHandler } from '@liveupdate/handler-testkit';
import { processes } from '@liveupdate/handler-testkit/processes';
import { RingLog } from './ring-log.ts';
import { ringLogHandler } from './ring-log-handler.ts';

testFileHandler({
  test,
  handler: ringLogHandler,
  make: ({ pages }) => RingLog.create(pages),
  change: (log) =>
    log.append(`line of ${'long text, '.repeat(100)} after ${[...log.lines()].length}, ${log.start}`),
  same: (actual, expected) => [...actual.lines()].join('\n') === [...expected.lines()].join('\n'),
  processes: processes(import.meta.url),
});
