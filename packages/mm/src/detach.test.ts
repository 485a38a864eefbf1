import { runInNewContext } from 'node:vm';
import { afterEach, expect, test, vi } from 'vitest';
import { detach } from './detach.ts';

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** A buffer as an old engine makes it. */
function withoutTransfer(): ArrayBuffer {
  const buffer = new ArrayBuffer(4096);
  Object.defineProperty(buffer, 'transfer', { value: undefined });
  return buffer;
}

test.each([
  ['by a transfer', () => new ArrayBuffer(4096)],
  ['by a clone where there is no transfer', withoutTransfer],
])('views end %s', (_, make) => {
  const buffer = make();
  const view = new Uint8Array(buffer, 16, 16);
  detach(buffer);
  expect([view.length, buffer.byteLength]).toEqual([0, 0]);
});

test('views go on where an engine can do neither', () => {
  vi.stubGlobal('structuredClone', undefined);
  const buffer = withoutTransfer();
  detach(buffer);
  expect(buffer.byteLength).toBe(4096);
});

test('a context of node:vm has no clone of its own', () => {
  expect(runInNewContext('typeof structuredClone')).toBe('undefined');
});
