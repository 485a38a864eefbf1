import { expect, test } from 'vitest';
import { runChild } from './test-child.ts';

/**
 * What a program finds that was started with `env`; it opens a file before it asks first, and
 * another in its place.
 */
function found(env: string): string {
  const code = `
    import * as fs from 'node:fs';
    import { passedFds } from './src/index.ts';
    Object.assign(process.env, ${env});
    const fd = fs.openSync('/dev/null');
    const kept = fs.openSync('/dev/zero');
    const first = passedFds();
    fs.closeSync(fd);
    const other = fs.openSync('/dev/full');
    console.log(other === fd, first.includes(fd), passedFds().includes(fd), passedFds().includes(kept), passedFds().some((fd) => fd < 3));`;
  const { stdout, stderr } = runChild(code);
  expect(stderr).toBe('');
  return stdout.trim();
}

test.each([
  [
    'descriptors that were passed, while they stand for the same',
    '{ LISTEN_PID: process.pid, LISTEN_FDS: 100 }',
    'true true false true false',
  ],
  [
    'nothing that was passed to another process',
    '{ LISTEN_PID: process.ppid, LISTEN_FDS: 100 }',
    'true false false false false',
  ],
  [
    'nothing where it is no number',
    '{ LISTEN_PID: process.pid, LISTEN_FDS: "x" }',
    'true false false false false',
  ],
  ['nothing where none was passed', '{}', 'true false false false false'],
])('it finds %s', (_, env, seen) => {
  expect(found(env)).toBe(seen);
});
