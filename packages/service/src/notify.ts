/**
 * What systemd is told of a service (sd_notify(3)), and the listening sockets that it passes
 * (sd_listen_fds(3)).
 */
import { isListening, localAddress, passedFds, sendDatagram, setClosesOnExec } from '@liveupdate/linux';
import { keyOf } from './listening.ts';

/**
 * Tells systemd what happens; nothing where it does not want to know (NOTIFY_SOCKET is not set).
 *
 * @param lines such as `READY=1`
 * @throws KernelError ECONNREFUSED, ENOENT: nobody is at the socket. Others as sendDatagram
 */
export function notifySystemd(
  lines: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): void {
  const socket = env['NOTIFY_SOCKET'];
  if (socket === undefined || socket === '') return;
  sendDatagram(socket, Buffer.from(lines.join('\n')));
}

/** The listening sockets that systemd passed to this process, by the place that each stands for. */
export function activatedListeners(): Map<string, number> {
  const listeners = new Map<string, number>();
  for (const fd of passedFds()) {
    if (!isListening(fd)) continue;
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
