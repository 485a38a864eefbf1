import { expect, test } from 'vitest';
import type { FileHandler } from './handler.ts';
import { HandlerRegistry } from './registry.ts';
import { coldKernel, Counter, counterHandler, nextKernel, outcome } from './test-kernel.ts';

const { kho } = coldKernel();
const good = counterHandler(kho);

const cases: [string, object, string][] = [
  ['complete', {}, 'ok'],
  ['without canPreserve', { canPreserve: undefined }, 'EINVAL'],
  ['without preserve', { preserve: undefined }, 'EINVAL'],
  ['without unpreserve', { unpreserve: undefined }, 'EINVAL'],
  ['without retrieve', { retrieve: undefined }, 'EINVAL'],
  ['without finish', { finish: undefined }, 'EINVAL'],
  [
    'without the optional ones',
    { freeze: undefined, unfreeze: undefined, canFinish: undefined, getId: undefined },
    'ok',
  ],
  ['an empty string', { compatible: '' }, 'EINVAL'],
  ['one byte', { compatible: 'x' }, 'ok'],
  ['47 bytes', { compatible: 'x'.repeat(47) }, 'ok'],
  ['48 bytes', { compatible: 'x'.repeat(48) }, 'EINVAL'],
  ['46 bytes in 23 letters', { compatible: 'é'.repeat(23) }, 'ok'],
  ['48 bytes in 24 letters', { compatible: 'é'.repeat(24) }, 'EINVAL'],
  ['a NUL', { compatible: 'a\0b' }, 'EINVAL'],
  ['half a surrogate pair', { compatible: '\ud800' }, 'EINVAL'],
  ['no string', { compatible: 5 }, 'EINVAL'],
  ['no string at all', { compatible: undefined }, 'EINVAL'],
  ['reads another too', { alsoReads: ['counter-v0'] }, 'ok'],
  ['reads an impossible one', { alsoReads: [''] }, 'EINVAL'],
];

test.each(cases)('a handler that is %s', async (_, change, code) => {
  const registry = new HandlerRegistry();
  const handler = { ...good, ...change } as FileHandler;
  expect(await outcome(() => registry.register(handler))).toBe(code);
  expect(registry.compatibles).toEqual(code === 'ok' ? [handler.compatible] : []);
});

test('a string is taken once, and free again when its handler is gone', async () => {
  const registry = new HandlerRegistry();
  registry.register(good);
  expect(await outcome(() => registry.register({ ...good }))).toBe('EEXIST');
  expect(await outcome(() => registry.unregister({ ...good }))).toBe('ENOENT');
  registry.unregister(good);
  registry.register({ ...good });
  expect(registry.compatibles).toEqual(['counter-v1']);
});

test('the first that says yes gets the file', () => {
  const registry = new HandlerRegistry();
  const named = (compatible: string, yes: boolean, alsoReads: string[] = []): FileHandler => ({
    ...good,
    compatible,
    alsoReads,
    canPreserve: (file): file is Counter => yes && file instanceof Counter,
  });
  for (const handler of [named('a', false, ['old']), named('b', true, ['a']), named('c', true, ['old'])])
    registry.register(handler);
  expect(registry.forFile(new Counter(1))?.compatible).toBe('b');
  expect(registry.forFile({})).toBeUndefined();
  // A record goes to who writes that string, else to the first that reads it too.
  expect(registry.forRecord('a')?.compatible).toBe('a');
  expect(registry.forRecord('old')?.compatible).toBe('a');
  expect(registry.forRecord('new')).toBeUndefined();
});

test('a handler with files cannot be unregistered', async () => {
  const first = coldKernel();
  expect(await outcome(() => first.luo.unregisterHandler({ ...first.handler }))).toBe('ENOENT');
  const session = first.luo.createSession('s');
  await session.preserve(new Counter(1), 1);
  expect(await outcome(() => first.luo.unregisterHandler(first.handler))).toBe('EBUSY');
  await session.unpreserve(1);
  await first.luo.unregisterHandler(first.handler);
  expect(first.luo.handlers).toEqual([]);
  first.luo.registerHandler(first.handler);
  await session.preserve(new Counter(1), 1);
  await first.luo.reboot();
  expect(await outcome(() => first.luo.unregisterHandler(first.handler))).toBe('EBUSY');

  const { luo, handler } = nextKernel(first);
  expect(await outcome(() => luo.unregisterHandler(handler))).toBe('EBUSY'); // nobody has asked for the sessions yet
  await luo.retrieveSession('s').finish();
  await luo.unregisterHandler(handler);
});
