import { testFileHandler } from '@liveupdate/handler-testkit';
import { processes } from '@liveupdate/handler-testkit/processes';
import * as test from 'vitest';
import { EFD_NONBLOCK, EventFd } from './event-fd.ts';
import { eventfdHandler } from './eventfd-handler.ts';

testFileHandler({
  test,
  handler: eventfdHandler,
  make: () => new EventFd(2n ** 40n, EFD_NONBLOCK),
  change: (file) => file.write(3),
  same: (actual, expected) => actual.count === expected.count && actual.flags === expected.flags,
  processes: processes(import.meta.url),
});
