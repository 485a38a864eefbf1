/** The front page says what the results files say: medians, and the worst of what was lost. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { frontPage, type RaceResults } from './front-page.ts';
import { writePictured, type PicturedSide, type PicturedUpgrades } from './pictured-upgrades.ts';
import { writeResults } from './results.ts';
import { fullResults, resultsOf, run } from './test-results.ts';

const root = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-front-'));
afterAll(() => {
  fs.rmSync(root, { recursive: true });
});

function side(name: PicturedSide['side'], silences: readonly number[], failed: number): PicturedSide {
  const none = silences.map(() => 0);
  return {
    side: name,
    ...{ failed: 0, closed: 0, gap: 1, silence: 1, silenceEnd: 1, wait: 1, moments: [1] },
    all: {
      failed: [failed, ...none.slice(1)],
      closed: none,
      gap: silences,
      silence: silences,
      wait: silences,
    },
  };
}

const pictured: PicturedUpgrades = {
  version: 1,
  date: '2026-01-02T03:04:05.000Z',
  commit: undefined,
  built: true,
  machine: fullResults().machine,
  disturbance: { others: 0.01, stolen: 0, waiting: 0.02 },
  ...{ size: 2 ** 30, clients: 50, upgrades: 3, momentMs: 10, leadMs: 500 },
  sides: [
    side('standby', [9, 5, 6], 0),
    side('workers', [3, 2, 70], 60),
    side('heap', [3000, 2000, 1000], 50),
  ],
};

const row = (text: string, word: string): string =>
  text.split('\n').find((line) => line.includes(word)) ?? 'no such row';

test('each end has a row; of Linux there are figures where it raced', () => {
  const three = (value: number): number[] => [value, value, value];
  const killed = run('killed', 2 ** 30, { answer: three(61), mapped: three(90), empty: three(30) });
  writeResults(join(root, 'x.json'), resultsOf([killed]));
  writePictured(join(root, 'x-upgrade.json'), pictured);
  const text = frontPage(root, 'x.json');
  expect(row(text, 'a new version')).toMatch(/\| 6\.00 ms, no request fails +\|/);
  expect(row(text, 'a new version')).toContain(
    'two workers over LMDB, rolled: 3.00 ms, 60 requests fail<br>state written and read again: 2.00 s, 50 requests fail',
  );
  expect(row(text, 'a crash')).toMatch(
    /\| 61\.0 ms +\| a mapped file on tmpfs: 90\.0 ms<br>state in the heap: it is lost +\|/,
  );
  expect(text).not.toContain('No trust');
  expect(text).toContain('srcset="x-upgrade-dark.svg"');
  expect(text).toContain('src="x-upgrade-light.svg"');
  expect(row(text, 'another kernel')).not.toContain('256 MiB');

  const busy = { ...pictured, disturbance: { others: 0.4, stolen: 0, waiting: 0.5 } };
  writePictured(join(root, 'x-upgrade.json'), busy);
  expect(frontPage(root, 'x.json')).toContain('No trust: other programs had 40 % of the processors.');

  fs.mkdirSync(join(root, 'results'));
  const medians = { copy: 200, 'preserve, Linux': 1, 'retrieve, Linux': 3 };
  const races = [4096, 2 ** 21].map((folio) => ({ bytes: 2 ** 28, folio, medians }));
  fs.writeFileSync(join(root, 'results/race.json'), JSON.stringify({ races } satisfies RaceResults));
  const raced = frontPage(root, 'x.json');
  expect(row(raced, 'another kernel')).toContain('the start of that kernel, and 4.00 ms for 256 MiB');
  expect(row(raced, 'another kernel')).toContain('a copy of 256 MiB in memory: 200 ms');
  expect(raced).toContain("The kernel's row: in QEMU");
});
