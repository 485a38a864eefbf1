/** What is wrong with a command line is said in one line, before anything is done. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './check/command.ts';

test.each([
  ['check.ts', ['--bogus'], "npm test: Unknown option '--bogus'; there are --only, --quick, --help"],
  ['check.ts', ['--only'], "npm test: Option '--only <value>' argument missing"],
  ['check.ts', ['--only', 'bogus'], 'no check is called bogus; there are components, build, stores'],
  ['release.ts', ['--bogus'], "release: Unknown option '--bogus' (npm run release -- --help)"],
  ['storm.ts', ['--bogus'], "storm: Unknown option '--bogus' (npm run storm -- --help)"],
  ['storm.ts', ['--kills', 'many'], 'storm: --kills, --seed and --lanes are whole numbers'],
  ['release.ts', ['--checks', 'some'], 'release: there is no --checks some: all, quick and none'],
])('%s %j', (script, args, says) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts', script), ...args], {
    encoding: 'utf8',
  });
  expect(stderr.startsWith(says), stderr).toBe(true);
  expect([status, stdout, stderr.trimEnd().split('\n').length]).toEqual([2, '', 1]);
});

test('without somebody who signs provenance there is no release', () => {
  const env = { ...process.env, ACTIONS_ID_TOKEN_REQUEST_URL: undefined, SIGSTORE_ID_TOKEN: undefined };
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/release.ts')], {
    encoding: 'utf8',
    env,
  });
  expect([status, stderr]).toEqual([
    1,
    expect.stringMatching(/^release: nobody here can sign provenance: .*\n$/),
  ]);
});
