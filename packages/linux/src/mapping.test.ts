import { expect, test } from 'vitest';
import { mergeAdjacent } from './mapping.ts';

const P = 4096;
type Pieces = [pa: number, length: number][];

const MERGED: [what: string, pieces: Pieces, runs: Pieces][] = [
  ['nothing', [], []],
  ['empty pieces', [[0, 0]], []],
  [
    'one that continues another',
    [
      [P, P],
      [2 * P, 2 * P],
    ],
    [[P, 3 * P]],
  ],
  [
    'an empty one between',
    [
      [P, P],
      [9 * P, 0],
      [2 * P, P],
    ],
    [[P, 2 * P]],
  ],
  [
    'the same twice',
    [
      [P, P],
      [P, P],
    ],
    [
      [P, P],
      [P, P],
    ],
  ],
  [
    'backwards',
    [
      [2 * P, P],
      [P, P],
    ],
    [
      [2 * P, P],
      [P, P],
    ],
  ],
  [
    'above 4 GiB',
    [
      [2 ** 33 - P, P],
      [2 ** 33, P],
      [0, P],
    ],
    [
      [2 ** 33 - P, 2 * P],
      [0, P],
    ],
  ],
];

test.each(MERGED)('merging %s', (_what, pieces, runs) => {
  const given = pieces.map(([pa, length]) => ({ pa, length }));
  const copy = structuredClone(given);
  expect(mergeAdjacent(given)).toEqual(runs.map(([pa, length]) => ({ pa, length })));
  expect(given).toEqual(copy); // what was given is not changed
});
