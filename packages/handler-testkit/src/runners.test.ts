/** The suite under a runner itself: node:test runs this file again, with a broken handler. */
import { spawnSync } from 'node:child_process';
import * as nodeTest from 'node:test';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { counters } from './test-broken.ts';

const AGAIN = 'LIVEUPDATE_TESTKIT_BROKEN';

if (process.env[AGAIN]) {
  counters(() => ({ unpreserve: () => undefined }))(nodeTest);
} else {
  test('node:test fails one test and skips those that need the same callback', () => {
    const file = fileURLToPath(import.meta.url);
    const args = ['--conditions=@liveupdate/source', '--test', '--test-reporter=tap', file];
    const env = { ...process.env, [AGAIN]: '1', NODE_TEST_CONTEXT: undefined };
    const { stdout } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
    const count = (what: string) => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(stdout)?.[1]);
    expect(count('fail'), stdout).toBe(1);
    expect(count('skipped')).toBeGreaterThan(5);
    expect(count('pass')).toBeGreaterThan(10);
    expect(stdout).toMatch(
      /^ *ok \d+ - closing the session takes everything back # SKIP not judged: 'unpreserve takes everything back, again and again' found that handler 'counter-v1': unpreserve\(\) leaves 1 page/m,
    );
  });
}
