/** FLBs that come and go with their handlers. */
import { describe, expect, test } from 'vitest';
import { flbKernel, scriptedFlb } from './test-flb.ts';
import { coldKernel, Counter, outcome, Script } from './test-kernel.ts';

describe('registering', () => {
  const { kho } = coldKernel();
  const good = scriptedFlb(kho, new Script(), 9);
  const cases: [string, object, string][] = [
    ['complete', {}, 'ok'],
    ['without preserve', { preserve: undefined }, 'EINVAL'],
    ['without unpreserve', { unpreserve: undefined }, 'EINVAL'],
    ['without retrieve', { retrieve: undefined }, 'EINVAL'],
    ['without finish', { finish: undefined }, 'EINVAL'],
    ['of 47 bytes', { compatible: 'x'.repeat(47) }, 'ok'],
    ['of 48 bytes', { compatible: 'x'.repeat(48) }, 'EINVAL'],
    ['without a string', { compatible: '' }, 'EINVAL'],
    ['with a string that is none', { compatible: 5 }, 'EINVAL'],
    ['that reads an impossible string', { alsoReads: [''] }, 'EINVAL'],
    ['of the string of another', { compatible: 'flb-1' }, 'EEXIST'],
    ['that reads the string of another', { alsoReads: ['flb-2'] }, 'EEXIST'],
  ];
  test.each(cases)('an FLB %s', async (_, change, code) => {
    const { luo, odd } = flbKernel();
    const flb = { ...good, ...change };
    expect(await outcome(() => luo.registerFlb(odd, flb))).toBe(code);
    expect(luo.outgoingFlbs.map(({ compatible }) => compatible)).toEqual(
      code === 'ok' ? ['flb-1', 'flb-2', flb.compatible] : ['flb-1', 'flb-2'],
    );
  });

  test('twice with one handler, with a handler that is not there, and more than 63', async () => {
    const { luo, odd, even, flbs, kho: own } = flbKernel();
    expect(await outcome(() => luo.registerFlb(odd, flbs[0]))).toBe('EEXIST');
    expect(await outcome(() => luo.registerFlb({ ...odd }, flbs[0]))).toBe('ENOENT');
    expect(await outcome(() => luo.registerFlb(even, flbs[0]))).toBe('ok'); // one FLB, another handler
    for (let i = 3; i <= 63; i++) luo.registerFlb(even, scriptedFlb(own, new Script(), i));
    const last = scriptedFlb(own, new Script(), 64);
    expect(await outcome(() => luo.registerFlb(odd, last))).toBe('ENOSPC');
    expect(await outcome(() => luo.registerFlb(odd, { ...last, compatible: 'flb-1' }))).toBe('EEXIST');
    expect(await outcome(() => luo.registerFlb(odd, scriptedFlb(own, new Script(), 63)))).toBe('EEXIST');
    expect(luo.outgoingFlbs).toHaveLength(63);
    await luo.unregisterFlb(even, flbs[1]); // with the other handler it stays
    expect(luo.outgoingFlbs).toHaveLength(63);
    await luo.unregisterFlb(odd, flbs[1]);
    luo.registerFlb(odd, last);
    expect(await outcome(() => luo.unregisterFlb(odd, flbs[1]))).toBe('ENOENT');
  });

  test('a handler whose FLB cannot be registered is not registered, nor is another FLB of it', async () => {
    const { luo, odd, flbs } = flbKernel();
    const before = [luo.handlers, luo.outgoingFlbs];
    const again = { ...odd, compatible: 'again', flbs: [good, { ...flbs[0] }] };
    expect(await outcome(() => luo.registerHandler(again))).toBe('EEXIST');
    expect([luo.handlers, luo.outgoingFlbs]).toEqual(before);
    luo.registerHandler({ ...again, flbs: [good, ...flbs] });
    expect(luo.outgoingFlbs).toHaveLength(3);
  });

  test('while a handler has files its FLBs stay; its own end takes them with it', async () => {
    const kernel = flbKernel();
    const { luo, odd, even, flbs } = kernel;
    const session = luo.createSession('s');
    await session.preserve(new Counter(1), 1);
    expect(await outcome(() => luo.unregisterFlb(odd, flbs[0]))).toBe('EBUSY');
    expect(await outcome(() => luo.unregisterHandler(odd))).toBe('EBUSY');
    // Registered while a file is preserved: that file does not count for it, and is not counted
    // down.
    luo.registerFlb(odd, good);
    await session.unpreserve(1);
    expect(luo.outgoingFlbs.map(({ files }) => files)).toEqual([0, 0, 0]);
    await luo.unregisterHandler(odd);
    expect(luo.outgoingFlbs.map(({ compatible }) => compatible)).toEqual(['flb-2']);
    await luo.unregisterHandler(even);
    expect(luo.outgoingFlbs).toEqual([]);
    await luo.reboot();
    expect(await outcome(() => luo.registerFlb(odd, good))).toBe('EBUSY');
  });
});
