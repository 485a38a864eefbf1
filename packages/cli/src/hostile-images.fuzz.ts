/**
 * Images that lie: wrong strings, cycles, addresses outside, counts too large, files that share
 * pages. Each ends in an answer or in one sentence, in bounded time and memory, at every moment.
 */
import * as fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { Prng } from '@liveupdate/base';
import { afterAll, expect, test } from 'vitest';
import { Directory, LINUX_IMAGE, runHere, secondsOfWork } from './test-cli.ts';

const core = gunzipSync(fs.readFileSync(LINUX_IMAGE));
const PAGE = 4096;
const ROUNDS = isQuick ? 20 : 120;
/** Seconds of work for an image of 8 MiB. */
const MOST_SECONDS = 5;
const MOST_MEMORY = 2 ** 30;

const directory = new Directory();
afterAll(() => {
  directory[Symbol.dispose]();
});

/** Where pages of the file begin that lead to something: the tree, the map, records. */
function leading(): number[] {
  const at: number[] = [];
  for (const needle of [
    Buffer.from([0xd0, 0x0d, 0xfe, 0xed]),
    Buffer.from('luo-v5'),
    Buffer.from('memfd-v2'),
  ])
    for (let i = core.indexOf(needle); i >= 0 && at.length < 500; i = core.indexOf(needle, i + PAGE))
      at.push(i);
  const first = core.readBigUInt64LE(64 + 8); // where the first piece of memory begins in the file
  const start = Number(first) % PAGE;
  const pages = at.map((i) => i - ((i - start) % PAGE));
  const near = pages.flatMap((page) => [page, page + PAGE, page + 2 * PAGE]);
  return [...new Set(near)].filter((page) => page > 0 && page + PAGE <= core.length);
}

const PAGES = leading();
/** What a number is made to be: nothing, itself's neighbour, outside, beyond counting. */
const NUMBERS = [
  0n,
  1n,
  2n ** 12n,
  0x4d_8000n,
  0x4d_3000n,
  2n ** 28n - 4096n,
  2n ** 44n,
  2n ** 63n,
  2n ** 64n - 1n,
];

function lie(random: Prng, copy: Buffer): void {
  const page = PAGES[random.below(PAGES.length)];
  const word = page + 8 * random.below(random.below(2) === 0 ? 8 : PAGE / 8);
  switch (random.below(5)) {
    case 0:
      copy.writeBigUInt64LE(NUMBERS[random.below(NUMBERS.length)], word);
      break;
    case 1: // a number of somewhere else: cycles, and pages that two own
      core.copy(copy, word, PAGES[random.below(PAGES.length)] + 8 * random.below(16), word + 8);
      break;
    case 2: // a page of somewhere else
      core.copy(copy, page, PAGES[random.below(PAGES.length)], page + PAGE);
      break;
    case 3:
      copy.fill(random.below(256), word, word + random.below(64));
      break;
    default: // a byte of a string
      copy[page + random.below(PAGE)] ^= 1 << random.below(8);
  }
}

test(`${ROUNDS} lies end in an answer or in a sentence`, async () => {
  const random = new Prng(seed);
  for (let round = 0; round < ROUNDS; round++) {
    const copy = Buffer.from(core);
    for (let i = random.below(6); i >= 0; i--) lie(random, copy);
    // At other moments: the record of the sessions is gone, or names none.
    const record = copy.indexOf('luo-v5');
    if (record >= 0 && round % 3 === 1) copy.fill(0x5a, record, record + PAGE);
    if (record >= 0 && round % 3 === 2) copy.fill(0, record + 16, record + 24);
    const length = round % 10 === 9 ? random.below(copy.length) : copy.length;
    const path = directory.write('lies', copy.subarray(0, length));
    const before = process.cpuUsage();
    const { status, stdout, stderr } = await runHere('inspect', '--json', path);
    expect(secondsOfWork(before)).toBeLessThan(MOST_SECONDS);
    expect(process.memoryUsage().rss).toBeLessThan(MOST_MEMORY);
    expect([0, 1]).toContain(status);
    if (status === 1) expect(stderr).toMatch(/^liveupdate: E[A-Z0-9]+: [^\n]+\n$/);
    if (stdout !== '') expect(JSON.parse(stdout)).toHaveProperty('sessions');
    else expect(status).toBe(1);
  }
});
