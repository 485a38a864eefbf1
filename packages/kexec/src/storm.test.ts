/**
 * The kill storm in short: see test-storm.ts. Run one again with LIVEUPDATE_SEED, at length with
 * `npm run storm`.
 */
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { expect, test } from 'vitest';
import { storm } from './test-storm.ts';

const KILLS = isQuick ? 30 : 100;

test(`${KILLS} kills of a service at work: what it was told to be preserved is found, every byte of it`, async () => {
  const result = await storm({ kills: KILLS, seed });
  expect(result.failure).toBeUndefined();
  expect(result.kills).toBeGreaterThanOrEqual(KILLS);
  expect(result).toMatchObject({ filesLost: 0, filesTooMany: 0, foundTwice: 0, wrongBytes: 0 });
  // That it was a storm: there was something to find, and it was looked at.
  expect(result.acknowledged.preserve).toBeGreaterThan(KILLS);
  expect(result.filesFound).toBeGreaterThan(KILLS);
  expect(result.pagesCompared).toBeGreaterThan(KILLS);
  expect(result.recoveries).toBeGreaterThan(KILLS / 4);
});
