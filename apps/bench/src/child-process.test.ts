import { MappedRam } from '@liveupdate/linux';
import { afterAll, expect, test } from 'vitest';
import type { BareArgument } from './bare.ts';
import { Child, ProgramFailed } from './child-process.ts';
import { within } from './patience.ts';
import { retried } from './upgrade-sides.ts';

const MiB = 2 ** 20;
const ram = MappedRam.anonymous({ name: 'liveupdate-bench-test', size: MiB });
const argument = { size: MiB, reads: false } satisfies BareArgument;
afterAll(() => {
  ram.close();
});

test('a program that says nothing is given up, and ended', async () => {
  let pid = 0;
  {
    await using child = new Child('bare', { argument, fd: ram.fd, patience: 5000 });
    ({ pid } = child);
    await child.line(); // it stands, and says nothing more until it is told to go on
    await expect(child.line()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  }
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});

test('a program that is killed, or fails, is told by its name', async () => {
  await using killed = new Child('bare', { argument, fd: ram.fd });
  await killed.line();
  await killed.kill();
  expect(() => process.kill(killed.pid, 0)).toThrow('ESRCH');
  await expect(killed.line()).rejects.toThrow("the program 'bare' ended too early (signal SIGKILL)");
  await using failing = new Child('bare', { argument }); // it gets no memory to pass on
  await expect(failing.line()).rejects.toThrow(/the program 'bare' failed: E[A-Z]+: /);
});

test('a wait ends with what is awaited, or with the time for it', async () => {
  await expect(within(Promise.resolve(5), 60_000, 'five is not there')).resolves.toBe(5);
  const never = new Promise(() => undefined);
  await expect(within(never, 10, 'it does not come')).rejects.toThrow('it does not come within 0.01 s');
});

test('a side of others that fails is measured once more, and at last given up; all else is thrown at once', async () => {
  let tried = 0;
  const failsUntil = (last: number, error: Error) => (): Promise<number> =>
    (tried += 1) < last ? Promise.reject(error) : Promise.resolve(tried);
  const failed = new ProgramFailed('it failed');
  await expect(retried('a', failsUntil(3, failed))).resolves.toBe(3);
  await expect(retried('a', failsUntil(Infinity, failed))).rejects.toBe(failed);
  expect(tried).toBe(3 + 5);
  await expect(retried('a', failsUntil(Infinity, new Error('another')))).rejects.toThrow('another');
  expect(tried).toBe(3 + 5 + 1);
});
