/**
 * Messages with descriptors in them: open files go from one process to another, or wait in a socket
 * until somebody takes them.
 *
 * - A descriptor that was sent is a duplicate. The sender's stays open, and is the sender's.
 * - No call waits. A call that fails has sent nothing.
 * - What was received is closed on exec. What cannot be received whole is closed at once.
 */
import { checkList, checkText, checkWhole, KernelError, type Bytes, type ErrnoCode } from '@liveupdate/base';
import { checkFd } from './inputs.ts';
import { isOpen } from './libc.ts';
import { c, failed, lastError } from './native.ts';
import { fs } from './node-fs.ts';
import {
  AF_UNIX,
  checkMessage,
  messageMemory,
  MOST_BYTES,
  MOST_FDS_PER_MESSAGE,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  shownPath,
  SO_DOMAIN,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_STREAM,
  unixAddress,
  USUAL_BYTES,
} from './sockets-abi.ts';
import { newSocket, socketOption } from './sockets.ts';

export { MOST_FDS_PER_MESSAGE } from './sockets-abi.ts';

/**
 * A stream takes up to 47 KiB all or not at all; of more it may take a part (kernel:
 * unix_stream_sendmsg), and nobody could say where a message begins.
 */
const MOST_BYTES_IN_STREAM = 32 * 1024;

/** A message that arrived. The descriptors are the receiver's to close. */
export interface ReceivedFds {
  readonly fds: number[];
  readonly bytes: Uint8Array;
}

/**
 * Sends descriptors with some bytes through a connected Unix socket (sendmsg(2), SCM_RIGHTS).
 *
 * @param fds at most 253; none is fine
 * @param bytes at least one. Up to 32 KiB go through a stream; through packets what the socket's
 * buffer holds, which is some 200 KiB
 * @returns false where the buffer is full: try again when the receiver has read
 * @throws KernelError EPIPE: the peer is gone. ECONNRESET: it is gone, and left unread what was
 * sent to it. ENOTCONN: not connected. EBADF: the socket or one of `fds` is not open; the message
 * names it. ENOTSOCK: no socket. ETOOMANYREFS: more descriptors of this user are on their way than
 * RLIMIT_NOFILE. EMSGSIZE: too many bytes. EINVAL: a wrong kind of argument, too many descriptors,
 * no bytes, a socket that is not a Unix socket, or an io_uring among `fds`. ENOMEM, ENOBUFS: no
 * memory. EOPNOTSUPP: koffi or this runtime cannot (`checkRuntime`)
 */
export function sendFds(socket: number, fds: readonly number[], bytes: Bytes): boolean {
  checkFd(socket);
  checkFds(fds);
  const message = checkMessage(bytes);
  checkKind(socket, message.length);
  const sent = c('sendmsg')(socket, messageMemory().outgoing(fds, message), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent === message.length) return true;
  const tried = `sending ${fds.length} descriptors through descriptor ${socket}`;
  if (sent < 0) {
    if (lastError() === 'EAGAIN') return false;
    throw failed(tried, adviceFor(fds));
  }
  throw new KernelError(
    'EMSGSIZE',
    `${tried} was cut short: the buffer of this stream holds ${sent} of ${message.length} bytes; close it, and send less`,
  );
}

/**
 * TCP takes a message and loses its descriptors without a word, so the socket is looked at first.
 */
function checkKind(socket: number, length: number): void {
  if (socketOption(socket, SO_DOMAIN) !== AF_UNIX)
    throw new KernelError('EINVAL', `descriptor ${socket} is no Unix socket: only these pass descriptors on`);
  if (length > MOST_BYTES_IN_STREAM && socketOption(socket, SO_TYPE) === SOCK_STREAM) {
    const why = `a stream takes ${MOST_BYTES_IN_STREAM} bytes in one piece, not ${length}`;
    throw new KernelError('EMSGSIZE', `${why}: send the rest without descriptors`);
  }
}

function checkFds(fds: readonly number[]): void {
  checkList(fds, 'descriptors to send');
  if (fds.length > MOST_FDS_PER_MESSAGE) {
    const why = `${fds.length} descriptors are above the ${MOST_FDS_PER_MESSAGE} of one message`;
    throw new KernelError('EINVAL', `${why}: send several`);
  }
  for (let i = 0; i < fds.length; i++) checkFd(fds[i]);
}

function adviceFor(fds: readonly number[]): Partial<Record<ErrnoCode, string>> {
  if (lastError() !== 'EBADF') return {};
  const closed = fds.find((fd) => !isOpen(fd));
  return closed === undefined ? {} : { EBADF: `descriptor ${closed} is not open` };
}

/**
 * Takes the next message from a Unix socket, with its descriptors, each closed on exec (recvmsg(2),
 * SCM_RIGHTS).
 *
 * A stream does not keep messages apart: descriptors come with the first bytes that are read of
 * theirs, and bytes that were sent before may stand in front of those. Packets do; one without
 * bytes and descriptors cannot be told from the end.
 *
 * Linux waits milliseconds where its table of descriptors doubles, at 64, 256, 512 and so on. Who
 * has no such time opens and closes a high number before: `duplicateFrom(0, 2000)`.
 *
 * @param mostBytes room for bytes, up to 1 MiB. Default: 64 KiB
 * @returns undefined where nothing waits, `'ended'` where the peer has closed its end and all is
 * read
 * @throws KernelError EMFILE: not all of its descriptors fit below the limit of open files.
 * EMSGSIZE: the packet has more than `mostBytes` bytes. In both cases the message is gone, and
 * those of its descriptors that did arrive are closed. ECONNRESET: the peer has closed its end
 * before it read everything; it is told once, and what the peer sent may still wait. ENOTCONN, for
 * a stream EINVAL: not connected. EBADF: not open. ENOTSOCK: no socket. EINVAL: no number of a
 * descriptor, or no such number of bytes. ENOMEM: no memory. EOPNOTSUPP: koffi or this runtime
 * cannot (`checkRuntime`)
 */
export function receiveFds(socket: number, mostBytes = USUAL_BYTES): ReceivedFds | 'ended' | undefined {
  checkFd(socket);
  checkWhole(mostBytes, 'a number of bytes to receive', { min: 1, max: MOST_BYTES });
  const memory = messageMemory();
  const length = c('recvmsg')(socket, memory.incoming(mostBytes), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0) {
    if (lastError() === 'EAGAIN') return undefined;
    throw failed(`receiving from descriptor ${socket}`);
  }
  const { fds, bytes, flags } = memory.received(length);
  const lost = whyLost(flags, mostBytes);
  if (lost) {
    for (const fd of fds) fs.closeSync(fd);
    throw lost;
  }
  return length === 0 && fds.length === 0 ? 'ended' : { fds, bytes };
}

/** Why a message did not arrive whole. There is room for all descriptors: only limits lose some. */
function whyLost(flags: number, mostBytes: number): KernelError | undefined {
  if (flags & MSG_CTRUNC) {
    const advice = 'raise the limit (`ulimit -n`), and have it sent again';
    return new KernelError('EMFILE', `a message had more descriptors than may be open here: ${advice}`);
  }
  if (flags & MSG_TRUNC) {
    const advice = 'give it more room, and have it sent again';
    return new KernelError('EMSGSIZE', `a packet had more than ${mostBytes} bytes: ${advice}`);
  }
  return undefined;
}

/**
 * Sends one datagram to a Unix socket, with descriptors where there are some, as sd_notify(3) does
 * it.
 *
 * @param path of the socket; a name that begins with `@` or NUL is abstract, and needs no file
 * @param bytes at least one
 * @param fds at most 253
 * @throws KernelError ENOENT, ENOTDIR, ELOOP: there is no such path. ECONNREFUSED: nobody has bound
 * it, or it is no socket. EACCES: we may not write to it. EPROTOTYPE: the socket is not one for
 * datagrams. EAGAIN: its queue is full; try again. EPERM: it is connected to another one.
 * ENAMETOOLONG: above 107 bytes. EBADF: one of `fds` is not open. EMSGSIZE: too many bytes.
 * ETOOMANYREFS: more descriptors of this user are on their way than RLIMIT_NOFILE. EMFILE, ENFILE:
 * too many open files. EINVAL: a wrong kind of argument, too many descriptors, no bytes, or an
 * io_uring among `fds`. EPIPE: the receiver reads no more. ENOMEM, ENOBUFS: no memory. EOPNOTSUPP:
 * koffi or this runtime cannot (`checkRuntime`)
 */
export function sendDatagram(path: string, bytes: Bytes, fds: readonly number[] = []): void {
  const to = unixAddress(checkText(path, 'a path').replace(/^@/, '\0'));
  checkFds(fds);
  const message = checkMessage(bytes);
  const socket = newSocket(AF_UNIX, SOCK_DGRAM);
  try {
    const at = messageMemory().outgoing(fds, message, to);
    if (c('sendmsg')(socket, at, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      throw failed(`sending ${message.length} bytes to '${shownPath(path)}'`, {
        EAGAIN: 'the queue of the receiver is full: try again when it has read',
        ...adviceFor(fds),
      });
    }
  } finally {
    fs.closeSync(socket);
  }
}
