/**
 * Retrieves what the kernel before left; then, `updates` times, preserves all of it again and
 * replaces the kernel.
 */
import * as fs from 'node:fs';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { loadKexecKernel, rebootByKexec } from '@liveupdate/linux';
import { retrieveAll } from './kept.ts';
import { report, SHARE } from './report.ts';

const { GUEST_KERNEL = '', GUEST_UPDATES = '0' } = process.env;

const left = Number(GUEST_UPDATES);
const retrieved = retrieveAll();
for (const { session } of retrieved) session.finish();
for (const { session } of retrieved) session.close();
report('finished');
if (left > 0) {
  const held: DeviceSession[] = []; // they live as long as this process
  using device = openDevice();
  for (const { name, fds } of retrieved) {
    const session = device.createSession(name);
    for (const [token, fd] of fds) session.preserveFd(fd, BigInt(token));
    held.push(session);
  }
  const commandLine = fs
    .readFileSync(`${SHARE}/command-line`, 'utf8')
    .replace(/GUEST_UPDATES=\d+/, `GUEST_UPDATES=${left - 1}`);
  loadKexecKernel({ kernel: fs.openSync(GUEST_KERNEL, 'r'), commandLine });
  report('replacing', { sessions: held.length });
  rebootByKexec();
}
