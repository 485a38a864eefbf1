import { AssertionError, KernelError } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { reportFailure } from './failure.ts';
import { UsageError } from './usage-error.ts';

test('what a caller can meet is one sentence', () => {
  expect(reportFailure(new KernelError('ENOSPC', 'no room: make some'))).toEqual({
    text: 'liveupdate: ENOSPC: no room: make some\n',
    exitCode: 1,
  });
  expect(reportFailure(new UsageError('--size: no'))).toEqual({
    text: 'liveupdate: --size: no\n',
    exitCode: 2,
  });
  const system = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' });
  expect(reportFailure(system)).toEqual({ text: 'liveupdate: EIO: i/o error, read\n', exitCode: 1 });
});

test.each<Error>([new AssertionError('it broke'), new TypeError('it broke')])(
  'our own bug has its stack: %s',
  (error) => {
    const { text, exitCode } = reportFailure(error);
    expect(exitCode).toBe(1);
    expect(text).toContain('it broke');
    expect(text).toContain('failure.test.ts');
  },
);
