/** Runs Linux's own live-update tests, those that go through a kexec in their second stage. */
import { spawnSync } from 'node:child_process';
import { report } from './report.ts';

const { GUEST_FOLDER = '', GUEST_STAGED = '', GUEST_ALONE = '' } = process.env;

function run(name: string, ...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(`${GUEST_FOLDER}/${name}`, args, { encoding: 'utf8' });
  report('selftest', { name, status, said: stdout + stderr });
}

for (const name of GUEST_STAGED.split(',')) run(name, '--stage', '2');
run(GUEST_ALONE);
report('tested');
