import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { aptInstall, whyFailed } from './apt.ts';

/**
 * Takes a lock as dpkg does, says so, and holds it until its input ends: a perl is in every Debian.
 */
const HOLD = `
  $| = 1;
  open my $file, '>>', $ARGV[0] or die $!;
  my $lock = pack 's s x4 q q i x4', 1, 0, 0, 0, 0;
  fcntl $file, 7, $lock or die $!;
  print "held\\n";
  <STDIN>;`;

const has = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;

test('a lock that somebody holds is waited for, with a word about who does', async (context) => {
  if (process.getuid?.() !== 0 || !has('apt-get') || !has('perl'))
    context.skip("only root may take apt's lock, and only where there is an apt-get");
  const holder = spawn('perl', ['-e', HOLD, '/var/lib/dpkg/lock-frontend'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  const line = Promise.withResolvers<string>();
  const installed = aptInstall(['dpkg'], line.resolve); // it is there: nothing is fetched
  expect(await Promise.race([line.promise, installed])).toContain(`process ${holder.pid ?? 0} (perl)`);
  expect(await Promise.race([installed, Promise.resolve('waits')])).toBe('waits');
  holder.stdin.end();
  expect(await installed).toBe('');
});

test.each([
  ['install', 'Reading package lists...\nE: Unable to locate package dtc\n', 'Unable to locate package dtc'],
  [
    'update',
    'Err:1 http://deb.debian.org bookworm InRelease\nW: old\nE: Failed to fetch it  Could not resolve it\nE: Some index files failed.\n',
    'Failed to fetch it  Could not resolve it Some index files failed.',
  ],
  ['install', 'apt-get: spawn apt-get ENOENT\n', 'apt-get: spawn apt-get ENOENT'],
  ['install', '', 'it does not say why'],
])('why apt-get %s failed, of %j', (what, output, why) => {
  expect(whyFailed(what, { output })).toBe(`apt-get ${what} failed: ${why}`);
});
