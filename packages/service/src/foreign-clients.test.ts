/** Upgrades under the load of programs that others have written: they notice nothing either. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { NUMBERS, ProgramFile, Supervised } from './test-service.ts';

const SECONDS = 4;

/** What a program says of a service that is upgraded three times meanwhile. */
async function upgraded(command: (url: string) => readonly string[]): Promise<string> {
  using program = new ProgramFile(NUMBERS);
  const supervised = new Supervised(program);
  try {
    await supervised.event('ready');
    const [file, ...args] = command(`http://127.0.0.1:${supervised.port}/1`);
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (some: Buffer) => (text += some.toString()));
    const ended = once(child, 'close');
    for (let i = 0; i < 3; i++) {
      await delay(300);
      await supervised.supervisor.upgrade();
    }
    expect(await ended).toEqual([0, null]);
    return text;
  } finally {
    await supervised.stop();
  }
}

test('autocannon', async () => {
  const program = createRequire(import.meta.url).resolve('autocannon/autocannon.js');
  const text = await upgraded((url) => [
    process.execPath,
    program,
    ...['--connections', '50', '--duration', String(SECONDS), '--json', '--no-progress', url],
  ]);
  const { errors, timeouts, non2xx, requests } = JSON.parse(text) as Record<string, unknown>;
  expect({ errors, timeouts, non2xx }).toEqual({ errors: 0, timeouts: 0, non2xx: 0 });
  expect((requests as { total: number }).total).toBeGreaterThan(1000);
});

test('wrk', async (context) => {
  if (spawnSync('wrk', ['--version']).error)
    context.skip('wrk is not installed; on Debian: apt-get install wrk');
  const text = await upgraded((url) => [
    'wrk',
    '--connections',
    '50',
    '--threads',
    '1',
    '--duration',
    `${SECONDS}s`,
    url,
  ]);
  expect(text).toMatch(/\d+ requests in/);
  expect(text).not.toMatch(/Socket errors|Non-2xx/);
});
