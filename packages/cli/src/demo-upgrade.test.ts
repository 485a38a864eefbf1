/** The demo of a service as people run it: real processes, real clients, a real kill. */
import * as fs from 'node:fs';
import { expect, test } from 'vitest';
import { liveupdateBytes } from './test-cli.ts';

interface Figures {
  readonly steps: readonly {
    readonly what: string;
    readonly said: string;
    readonly met: Record<string, number>;
  }[];
  readonly right: number;
  readonly wrong: number;
}

const left = (): string[] =>
  fs.readdirSync('/dev/shm').filter((name) => name.startsWith('liveupdate.demo-upgrade-'));

test('no client notices an upgrade, or a bad version; a kill loses what was under way and no more', async () => {
  const before = left();
  const ran = await liveupdateBytes(
    'demo-upgrade',
    '--size',
    '8MiB',
    '--clients',
    '10',
    '--upgrades',
    '2',
    '--json',
  );
  expect(ran).toMatchObject({ status: 0 });
  const { steps, right, wrong } = JSON.parse(ran.stdout.toString()) as Figures;
  expect(steps.map(({ what }) => what)).toEqual(['upgrade 1', 'upgrade 2', 'a bad version', 'kill -9']);
  for (const { met } of steps.slice(0, 3)) expect(met).toMatchObject({ failed: 0, closed: 0, refused: 0 });
  for (const i of [0, 1, 3]) expect(steps[i].met['gap']).toBeGreaterThan(0);
  expect(steps[2].said).toMatch(/this version cannot read what is in memory.*goes on/);
  expect(steps[3].met).toMatchObject({ closed: 10, refused: 0 });
  expect(steps[3].met['failed']).toBeLessThanOrEqual(10);
  expect([right, wrong]).toEqual([40, 0]);
  expect(left()).toEqual(before);
});

test('says what it shows', async () => {
  const ran = await liveupdateBytes('demo-upgrade', '--size', '8MiB', '--clients', '3', '--upgrades', '1');
  expect(ran.status).toBe(0);
  const text = ran.stdout.toString();
  expect(text).toMatch(
    /nobody was answered for \d+\.\d ms, longest wait \d+ ms; of [\d,]+ requests 0 failed, 0 connections ended/,
  );
  expect(text).toMatch(/answers in each 2 ms/);
  expect(text).toMatch(/verified {6}12 numbers that were acknowledged: all are there/);
});

test('what a killed one left is cleared away', async () => {
  const dead = '/dev/shm/liveupdate.demo-upgrade-4194304'; // above the last number of a process
  fs.writeFileSync(dead, '');
  await liveupdateBytes('demo-upgrade', '--size', '8MiB', '--clients', '1', '--upgrades', '1', '--json');
  expect(fs.existsSync(dead)).toBe(false);
});

test('where it does not fit it says at once what would', async () => {
  const ran = await liveupdateBytes('demo-upgrade', '--size', '900TiB');
  expect([ran.status, ran.stdout.toString()]).toEqual([1, '']);
  expect(ran.stderr).toMatch(/^liveupdate: ENOSPC: there is room for .* run the demo with --size \d+MiB/);
});

test.each([
  [['--size', '4096'], 1],
  [['--clients', '100000'], 1],
  [['--clients', '0'], 2],
])('%j is refused', async (args, status) => {
  const ran = await liveupdateBytes('demo-upgrade', ...args);
  expect([ran.status, ran.stdout.toString()]).toEqual([status, '']);
  expect(ran.stderr).toMatch(/^liveupdate: /);
});
