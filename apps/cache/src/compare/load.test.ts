/** What the comparison says is what happened: also where something was lost. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { TestConnection } from '../test-client.ts';
import { TestServer } from '../test-server.ts';
import { fill, Load } from './load.ts';

const path = join(tmpdir(), `liveupdate-load-${process.pid}.sock`);

test('an upgrade, a kill, and a server that forgets', async () => {
  await using server = await TestServer.start('--socket', path);
  await fill(path, 'redis', 1000, 100);
  const load = new Load(path, 'redis', 5);
  await delay(500);
  load.met();
  await server.upgrade();
  await delay(100);
  const upgrade = load.met();
  expect(upgrade).toMatchObject({ errors: 0 });
  expect(upgrade.answered).toBeGreaterThan(0);
  await delay(1000);
  await server.crash();
  await delay(100);
  const kill = load.met();
  expect(kill.errors).toBeGreaterThan(0);
  expect(kill.gap).toBeGreaterThan(10);
  expect(await load.end()).toMatchObject({ lost: 0 });

  const other = new Load(path, 'redis', 5);
  await delay(300);
  const connection = new TestConnection({ path });
  expect(await connection.ask('DBSIZE')).toBeGreaterThan(1000);
  await connection.ask('FLUSHALL');
  expect((await other.end()).lost).toBeGreaterThan(0);
  connection.end();
});
