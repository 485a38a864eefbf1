/** A RAM file seen privately. */
import { PAGE_SIZE } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { MappedRam } from './mapped-ram.ts';
import { PrivateRam } from './private-ram.ts';
import { RamFile } from './ram-file.ts';

const SIZE = 64 * PAGE_SIZE;

function both(): { file: RamFile; shared: MappedRam; own: PrivateRam } {
  const file = RamFile.memory({ name: 'private', size: SIZE });
  return { file, shared: MappedRam.fromFd(RamFile.reopen(file.fd).fd), own: new PrivateRam(file) };
}

test('what is stored there reaches nobody; what others store is seen until then', () => {
  const { file, shared, own } = both();
  shared.bytes(0, 2).set([1, 2]);
  expect([...own.bytes(0, 2)]).toEqual([1, 2]);
  shared.bytes(0, 1)[0] = 3;
  expect(own.bytes(0, 1)[0]).toBe(3);
  own.bytes(0, 1)[0] = 7;
  own.discard(PAGE_SIZE, PAGE_SIZE);
  expect([shared.bytes(0, 1)[0], own.bytes(0, 1)[0]]).toEqual([3, 7]);
  shared.bytes(0, 1)[0] = 4;
  expect(own.bytes(0, 1)[0]).toBe(7);
  own.close();
  own.close();
  expect(() => own.bytes(0, 1)).toThrow('EBADF');
  shared.close();
  file.close();
});

test('views are told, and show nothing', () => {
  const { file, shared, own } = both();
  const told: number[] = [];
  own.onView = (pieces, { size }) => told.push(pieces.length, size);
  const view = own.view([{ pa: 0, length: PAGE_SIZE }], { size: 5, populate: false });
  expect([told, view.bytes.length]).toEqual([[1, 5], 0]);
  expect(() => view.share(true)).toThrow('EOPNOTSUPP');
  view.release();
  own.close();
  shared.close();
  file.close();
});

test('a prepared view is given to who asks for the same first; others are dropped', () => {
  const { file, shared, own } = both();
  own.close();
  const piece = { pa: PAGE_SIZE, length: PAGE_SIZE };
  const options = { size: 9, populate: false };
  shared.prepareView([piece], options);
  const one = shared.view([piece], options);
  const two = shared.view([piece], options);
  expect([one === two, one.bytes.length, two.bytes.length]).toEqual([false, 9, 9]);
  one.bytes[0] = 5;
  expect([two.bytes[0], shared.bytes(PAGE_SIZE, 1)[0]]).toEqual([5, 5]);
  shared.prepareView([piece], options);
  shared.dropPrepared();
  const three = shared.view([piece], options);
  expect(three.bytes[0]).toBe(5);
  shared.close();
  file.close();
});

test('tells which windows were looked through, and another RAM makes those ahead', () => {
  const size = 24 * 2 ** 20; // three windows
  const file = RamFile.memory({ name: 'windows', size });
  const own = new PrivateRam(file);
  expect(own.opened).toEqual([]);
  own.bytes(size - 5, 1);
  own.bytes(9, 1);
  expect(own.opened).toEqual([0, 16 * 2 ** 20]);
  const shared = MappedRam.fromFd(RamFile.reopen(file.fd).fd);
  const before = process.memoryUsage().external;
  for (const pa of own.opened) shared.prepareWindow(pa);
  expect(process.memoryUsage().external - before).toBeGreaterThanOrEqual(16 * 2 ** 20);
  own.close();
  expect(() => own.opened).toThrow('EBADF');
  shared.close();
  expect(() => {
    shared.prepareWindow(0);
  }).toThrow('EBADF');
  file.close();
});
