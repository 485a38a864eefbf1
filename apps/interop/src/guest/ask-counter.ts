/**
 * Asks the service a few times, then has systemd replace the kernel. The third kernel is the last.
 * In the first one systemd reloads the service by signal before: to a good version, and a bad one.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { loadKexecKernel } from '@liveupdate/linux';
import { report, SHARE } from './report.ts';

const KERNELS = 3;
const commandLine = fs.readFileSync('/proc/cmdline', 'utf8').trim();
const word = (name: string): string => new RegExp(`${name}=(\\S+)`).exec(commandLine)?.[1] ?? '';
const stage = Number(word('GUEST_STAGE'));

/** On a connection of its own: one that is kept would be closed meanwhile, for nobody uses it. */
const ask = async (): Promise<string> =>
  (await fetch('http://127.0.0.1:8080/', { headers: { connection: 'close' } })).text();

const answers: string[] = [];
for (let i = 0; i < 3; i++) answers.push(await ask());
report('answered', { stage, answers });
if (stage === 1) {
  const bad = `${SHARE}/bad-version`;
  await reload();
  fs.writeFileSync(bad, '');
  await reload();
  fs.rmSync(bad);
}
if (stage < KERNELS) {
  loadKexecKernel({
    kernel: fs.openSync(`/host${word('GUEST_KERNEL')}`, 'r'),
    commandLine: commandLine.replace(/GUEST_STAGE=\d/, `GUEST_STAGE=${stage + 1}`),
    debug: true,
  });
  report('loaded');
  while (!fs.existsSync(`${SHARE}/go-${stage}`)) await pause(50);
  execFileSync('systemctl', ['kexec', '--no-block']);
}

/** Tells how it went: the exit code, what the unit's status says, and what the service answers. */
async function reload(): Promise<void> {
  const { status } = spawnSync('systemctl', ['reload', 'counter']);
  const show = ['show', 'counter', '--property=StatusText,ActiveState'];
  const unit = execFileSync('systemctl', show, { encoding: 'utf8' });
  report('reloaded', { status, unit: unit.trim().split('\n').sort(), answer: await ask() });
}
