/** What the device answers, errno by errno: the table of luo-core's, on a real one. */
import { fileURLToPath } from 'node:url';
import { expectedOf, LINUX_SCENARIOS } from '@liveupdate/luo-core/test-device-scenarios';
import { expect, test } from 'vitest';
import { Guest } from './guest.ts';

const ANSWER = fileURLToPath(new URL('./guest/test-answers.ts', import.meta.url));

test('the real device gives the answers of ours, through three kernels', async () => {
  await using guest = await Guest.start({ program: ANSWER });
  const kernels = Math.max(...LINUX_SCENARIOS.map(({ segments }) => segments.length));
  expect(kernels).toBe(3);
  for (let i = 0; i < kernels; i++) {
    const { answers } = await guest.until('answered');
    const expected = LINUX_SCENARIOS.flatMap(({ title, segments }) => {
      const steps = segments.at(i);
      return steps ? [[title, expectedOf(steps)]] : [];
    });
    expect(answers).toEqual(expected);
  }
  await guest.until('done');
});
