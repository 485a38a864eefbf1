/**
 * Retrieves what the kernel before left; then, `updates` times, preserves all of it again and
 * replaces the kernel.
 */
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { rebootByKexec } from '@liveupdate/linux';
import { retrieveAll } from './kept.ts';
import { loadNextKernel } from './replace-kernel.ts';
import { report } from './report.ts';

const { GUEST_UPDATES = '0' } = process.env;

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
  loadNextKernel({ GUEST_UPDATES: left - 1 });
  report('replacing', { sessions: held.length });
  rebootByKexec();
}
