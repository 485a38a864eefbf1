/** A hundred upgrades and twenty kills of one service under load, and what is left of them. */
import * as fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Load } from './test-load.ts';
import { NUMBERS, ProgramFile, Supervised } from './test-service.ts';

const UPGRADES = 100;
const KILLS = 20;
/** A service that dies sooner is one that dies at its start, again and again. */
const SERVED_MS = 1200;
const CONNECTIONS = 50;
/** Descriptors that a generation may have more of than the third one had. */
const SLACK = 2;

function openFds(pid: number): number {
  return fs.readdirSync(`/proc/${pid}/fd`).length;
}

test('a hundred upgrades: no request fails, no connection ends, nothing is lost or left', async () => {
  using program = new ProgramFile(NUMBERS);
  const supervised = new Supervised(program);
  await supervised.event('ready');
  const load = new Load({ port: supervised.port, connections: CONNECTIONS });
  await load.start();
  const after: { supervisor: number; service: number; blocks: number }[] = [];
  for (let i = 0; i < UPGRADES; i++) {
    await supervised.supervisor.upgrade();
    after.push({
      supervisor: openFds(process.pid),
      service: openFds(supervised.pid),
      blocks: fs.statSync(`/dev/shm/liveupdate.${supervised.name}`).blocks,
    });
  }
  const report = await load.stop();
  expect(report).toMatchObject({ failed: 0, closed: 0, refused: 0, failures: [] });
  expect(report.gaps).toHaveLength(UPGRADES);
  const [, , third] = after;
  const last = after.at(-1);
  expect(last?.supervisor).toBeLessThanOrEqual(third.supervisor + SLACK);
  expect(last?.service).toBeLessThanOrEqual(third.service + SLACK);
  expect(last?.blocks).toBeLessThanOrEqual(third.blocks * 1.5);
  await supervised.stop();
});

test('twenty kills: nobody is refused, what was acknowledged is there', async () => {
  using program = new ProgramFile(NUMBERS);
  const supervised = new Supervised(program);
  await supervised.event('ready');
  const load = new Load({ port: supervised.port, connections: CONNECTIONS });
  await load.start();
  for (let i = 1; i <= KILLS; i++) {
    await delay(SERVED_MS);
    process.kill(supervised.pid, 'SIGKILL');
    await supervised.event('ready', i + 1);
  }
  const report = await load.stop();
  expect(report.refused).toBe(0);
  expect(report.failures.filter((why) => why !== 'a connection ended with a request under way')).toEqual([]);
  expect(report.failed).toBeLessThanOrEqual(KILLS * CONNECTIONS);
  await supervised.stop();
});
