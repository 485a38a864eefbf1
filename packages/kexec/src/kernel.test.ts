import { HeapRam } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { bootKernel, type HandlerFactory } from './kernel.ts';

const stuck: HandlerFactory = () => [
  {
    compatible: 'stuck-v1',
    canPreserve: (file) => 'stuck' in file,
    preserve: () => ({ data: 1 }),
    freeze: () => new Promise(() => undefined),
    unpreserve: () => undefined,
    retrieve: () => ({}),
    finish: () => undefined,
  },
];

test('a handler that never answers calls the handover off where there is a time limit, and events tell of it', async () => {
  const ram = new HeapRam(16 * 2 ** 20);
  const { luo } = bootKernel(ram, undefined, { handlers: stuck, callbackTimeLimit: 20 });
  const told: string[] = [];
  luo.events.subscribe((event) => told.push(event.type));
  await luo.createSession('s').preserve({ stuck: true } as object, 1);
  await expect(luo.reboot()).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  expect(luo.state).toBe('running');
  expect(told).toEqual(['session-created', 'preserved', 'failed']);
});

test('a time limit that is none', () => {
  const ram = new HeapRam(16 * 2 ** 20);
  expect(() => bootKernel(ram, undefined, { callbackTimeLimit: 0 })).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  );
});
