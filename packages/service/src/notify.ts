/**
 * What systemd is told of a service (sd_notify(3)), and the listening sockets that it passes
 * (sd_listen_fds(3)).
 */
import { isListening, localAddress, passedFds, sendDatagram, setClosesOnExec } from '@liveupdate/linux';
import { keyOf } from './listening.ts';

const fs = process.getBuiltinModule('node:fs');

/** The number of the first descriptor that is passed (SD_LISTEN_FDS_START). */
const FIRST_FD = 3;

/**
 * Tells systemd what happens; nothing where it does not want to know (NOTIFY_SOCKET is not set).
 *
 * @param lines such as `READY=1`
 * @param fds descriptors that go along
 * @throws KernelError ECONNREFUSED, ENOENT: nobody is at the socket. Others as sendDatagram
 */
export function notifySystemd(
  lines: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
  fds: readonly number[] = [],
): void {
  const socket = env['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return;
  sendDatagram(socket, Buffer.from(lines.join('\n')), fds);
}

/** What the memory of a service is called in systemd's store of descriptors. */
const MEMORY_NAME = 'liveupdate-memory';

/**
 * Gives systemd the memory of a service to keep, while the supervisor is stopped and started
 * (`FileDescriptorStoreMax=1`, and `FileDescriptorStorePreserve=yes` for a stop of the unit).
 */
export function storeMemory(
  fd: number,
  env: Readonly<Record<string, string | undefined>> = process.env,
): void {
  // What was stored before is another memory's: that service began anew.
  notifySystemd(['FDSTOREREMOVE=1', `FDNAME=${MEMORY_NAME}`], env);
  notifySystemd(['FDSTORE=1', `FDNAME=${MEMORY_NAME}`, 'FDPOLL=0'], env, [fd]);
}

/** The memory that systemd has kept; undefined where there is none. */
export function storedMemory(
  env: Readonly<Record<string, string | undefined>> = process.env,
): number | undefined {
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  const fd = passedFds(env).find((passed) => names[passed - FIRST_FD] === MEMORY_NAME);
  if (fd !== undefined) setClosesOnExec(fd, true);
  return fd;
}

/** The listening sockets that systemd passed to this process, by the place that each stands for. */
export function activatedListeners(): Map<string, number> {
  const listeners = new Map<string, number>();
  for (const fd of passedFds()) {
    if (!fs.fstatSync(fd).isSocket() || !isListening(fd)) continue;
    setClosesOnExec(fd, true);
    const address = localAddress(fd);
    if (address.family === 'unix') listeners.set(keyOf({ path: address.path }), fd);
    else {
      const { host, port } = address;
      listeners.set(keyOf(host === '::' ? { port } : { host, port }), fd);
    }
  }
  return listeners;
}
