/**
 * The compliance suite, with a memfd of the system behind each descriptor: its content tells
 * whether it is the same.
 */
import { testFileHandler } from '@liveupdate/handler-testkit';
import { processes } from '@liveupdate/handler-testkit/processes';
import { Memfd } from '@liveupdate/linux';
import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import * as test from 'vitest';
import { FdFile } from './fd-file.ts';
import { fdHandler } from './fd-handler.ts';
import { SharedFdStore } from './shared-fd-store.ts';

const shared = new SharedFdStore();

const closed = new WeakSet<FdFile>();

const contentOf = ({ fd }: FdFile): string => {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  readSync(fd, bytes, 0, bytes.length, 0);
  return bytes.toString();
};

testFileHandler({
  test,
  handler: ({ kho, fds = shared }) => fdHandler({ kho, fds }),
  make: () => {
    const file = new FdFile(Memfd.create('suite', 0).fd);
    writeSync(file.fd, 'made');
    return file;
  },
  change: ({ fd }) => {
    writeSync(fd, ' changed', fstatSync(fd).size);
  },
  same: (actual, expected) => contentOf(actual) === contentOf(expected),
  survivesDeath: false, // the system closes descriptors
  // A descriptor has one owner; who retrieves it twice gets the same one twice.
  release: (file) => {
    if (!closed.has(file)) closeSync(file.fd);
    closed.add(file);
  },
  processes: processes(import.meta.url, ['exec']),
});

if (!process.env['LIVEUPDATE_TESTKIT_PART']) test.afterAll(() => shared.close());
