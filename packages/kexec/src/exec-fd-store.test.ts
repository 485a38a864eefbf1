/** Numbers that a program closes, or gets again for something else, are left alone. */
import * as fs from 'node:fs';
import { codeOf } from '@liveupdate/base';
import { duplicateFrom, isOpen, Memfd } from '@liveupdate/linux';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ExecFdStore, LEAST_KEY } from './exec-fd-store.ts';

const file = (): number => {
  const { fd } = Memfd.create('store', 1);
  onTestFinished(() => {
    if (isOpen(fd)) fs.closeSync(fd);
  });
  return fd;
};

const codeFrom = (work: () => unknown): string => {
  try {
    work();
    return 'ok';
  } catch (error) {
    return codeOf(error);
  }
};

test('what is kept is a duplicate, above those that a program begins with', () => {
  const store = new ExecFdStore([]);
  const fd = file();
  const keys = [store.keep(fd), store.keep(fd)];
  expect(keys.every((key) => key >= LEAST_KEY)).toBe(true);
  fs.closeSync(fd);
  expect(store.kept).toEqual(keys);
  store.drop(keys[0]);
  expect([isOpen(keys[0]), isOpen(keys[1]), codeFrom(() => store.drop(keys[0]))]).toEqual([
    false,
    true,
    'ENOENT',
  ]);
  store.end();
  expect([isOpen(keys[1]), codeFrom(() => store.keep(2)), store.kept]).toEqual([false, 'EBADF', []]);
});

test('what came can be taken once, and what was not is closed in the end', () => {
  const came = [duplicateFrom(file(), 70), duplicateFrom(file(), 70)];
  const store = new ExecFdStore(came);
  expect(store.incoming).toEqual(came);
  expect(store.take(came[0])).toBe(came[0]);
  expect(codeFrom(() => store.take(came[0]))).toBe('ENOENT');
  expect(codeFrom(() => store.take(69))).toBe('ENOENT');
  store.end();
  expect(came.map(isOpen)).toEqual([true, false]);
  fs.closeSync(came[0]);
});

describe.each([false, true])('a number that the program closed (and got again: %s)', (isReused) => {
  /** Closes a number; another file may have it then. */
  const close = (fd: number): void => {
    fs.closeSync(fd);
    if (!isReused) return;
    expect(duplicateFrom(file(), fd)).toBe(fd);
    onTestFinished(() => {
      fs.closeSync(fd);
    });
  };

  test('that was kept: it does not go along, and is dropped in peace', () => {
    const store = new ExecFdStore([]);
    const [gone, kept] = [store.keep(file()), store.keep(file())];
    close(gone);
    expect(store.kept).toEqual([kept]);
    store.drop(gone);
    expect(isOpen(gone)).toBe(isReused);
    store.end();
    expect([isOpen(gone), isOpen(kept)]).toEqual([isReused, false]);
  });

  test('that came: it cannot be taken, and the end leaves it alone', () => {
    const came = duplicateFrom(file(), 70);
    const store = new ExecFdStore([came]);
    close(came);
    expect([store.incoming, codeFrom(() => store.take(came))]).toEqual([[], 'ENOENT']);
    store.end();
    expect(isOpen(came)).toBe(isReused);
  });
});
