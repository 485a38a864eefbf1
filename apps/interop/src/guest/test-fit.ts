/**
 * Asks whether another kernel would take over what this one writes, replaces this one by it all the
 * same, and tells what became of a file.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { codeOf } from '@liveupdate/base';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { loadKexecKernel, Memfd, rebootByKexec } from '@liveupdate/linux';
import { report, SHARE } from './report.ts';

const { GUEST_NODE = '', GUEST_CLI = '', GUEST_NEXT = '', GUEST_STAGE = '1' } = process.env;

/** What a call answers. */
function outcome(call: () => unknown): string {
  try {
    call();
    return 'ok';
  } catch (error) {
    return codeOf(error);
  }
}

if (GUEST_STAGE === '1') {
  if (GUEST_CLI !== '') {
    const args = ['--no-warnings', GUEST_CLI, 'compat', '--json', 'running', GUEST_NEXT];
    const { status, stdout, stderr } = spawnSync(GUEST_NODE, args, { encoding: 'utf8' });
    report('asked', { status, stdout, stderr });
  }
  using device = openDevice();
  const session = device.createSession('s');
  session.preserveFd(Memfd.create('file', 0).fd, 1);
  const commandLine = `${fs.readFileSync(`${SHARE}/command-line`, 'utf8')} GUEST_STAGE=2`;
  loadKexecKernel({ kernel: fs.openSync(GUEST_NEXT, 'r'), commandLine });
  rebootByKexec();
}
const opened = outcome(() => {
  openDevice().close();
});
let session: DeviceSession | undefined;
const retrieved = outcome(() => {
  using device = openDevice();
  session = device.retrieveSession('s');
});
report('became', { opened, retrieved, file: outcome(() => session?.retrieveFd(1)) });
