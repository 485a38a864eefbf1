/** A service of one's own, tested in one process: what its README shows. */
import { createServer } from 'node:http';
import { describe, expect, test } from 'vitest';
import type { Service } from './service.ts';
import { openService } from './open-service.ts';
import { Stage } from './stage.ts';

interface App {
  readonly service: Service;
  readonly url: string;
}

/** A service that counts, as its author writes it. */
async function start(open: typeof openService, version = 1, fails = ''): Promise<App> {
  const service = await open({ name: 'app', size: '16MiB' });
  const state = await service.file('count', { size: 4096 });
  const count = new Uint32Array(state.bytes.buffer);
  if (fails === 'early') throw new Error('early');
  const server = createServer((_, response) => {
    count[0] += 1;
    response.end(`${count[0]} by ${version}`);
  });
  const address = await service.listen(server, { port: 0, host: '127.0.0.1' });
  if (fails === 'late') throw new Error('late');
  await service.ready();
  return { service, url: `http://127.0.0.1:${'port' in address ? address.port : 0}` };
}

async function ask({ url }: App): Promise<string> {
  return (await fetch(url)).text();
}

test('generations in one process: memory, port and connections go along', async () => {
  using stage = new Stage();
  const one = await start(stage.open);
  expect(await ask(one)).toBe('1 by 1');
  const two = await stage.upgrade(() => start(stage.open, 2));
  expect([two.url, two.service.generation, two.service.origin]).toEqual([one.url, 2, 'handover']);
  expect(await ask(one)).toBe('2 by 2'); // by fetch's own connection, which is kept alive
  const three = await stage.upgrade(() => start(stage.open, 3));
  expect(await ask(three)).toBe('3 by 3');
  expect(stage.service).toBe(three.service);
});

describe('one that fails leaves the one before', () => {
  test.each(['early', 'late'])('%s', async (fails) => {
    using stage = new Stage();
    const one = await start(stage.open);
    await ask(one);
    await expect(stage.upgrade(() => start(stage.open, 2, fails))).rejects.toThrow(fails);
    expect(await ask(one)).toBe('2 by 1');
    await stage.upgrade(() => start(stage.open, 3));
    expect(await ask(one)).toBe('3 by 3');
  });
});

test('without a stage either: memory of the process', async () => {
  const { service, url } = await start((options) => openService({ ...options, ram: 'heap' }));
  expect(await ask({ service, url })).toBe('1 by 1');
  expect([service.origin, service.isSupervised]).toEqual(['cold', false]);
  await service.close();
});
