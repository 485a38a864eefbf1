/**
 * A session of the running kernel, behind its descriptor (kernel: kernel/liveupdate/luo_session.c).
 *
 * One for the next kernel takes files in, and gives them up when it is closed. One of the kernel
 * before gives files out, each under its token, and is finished; what was not retrieved is lost
 * then.
 */
import * as fs from 'node:fs';
import { codeOf, KernelError, shown, StructView } from '@liveupdate/base';
import { checkFd } from '@liveupdate/linux';
import { FileArgument, FinishArgument, GetNameArgument, LIVEUPDATE_IOCTL } from '@liveupdate/luo-core';
import { command, type Refusals } from './refusals.ts';

const MOST_TOKEN = 2n ** 64n - 1n;

const PRESERVE_REFUSALS: Refusals = {
  EEXIST: 'the session has a file under that token: choose another token',
  EBADF: 'the descriptor of the file, or of the session, is not open',
  ENOENT: 'the kernel cannot preserve files of this kind: a memfd it can',
  EBUSY: 'it is preserved already, here or in another session, or an update is on its way',
  EINVAL: 'the session is of the kernel before, which takes no files, or the file has a state that cannot go',
  EOPNOTSUPP: 'it has seals that this kernel does not carry over',
  ENOSPC: 'the session is full, or the kernel has no room: use another session',
  EFBIG: 'the file is too large to be preserved',
};

const RETRIEVE_REFUSALS: Refusals = {
  ENOENT: 'the kernel before left nothing under that token in this session',
  EINVAL: 'the session is for the next kernel: there is nothing to retrieve, or what was left is damaged',
};

const FINISH_REFUSALS: Refusals = {
  EBUSY: 'a file of it is not ready to be given up: try again',
  EINVAL: 'the session is for the next kernel: close it instead',
};

const NAME_REFUSALS: Refusals = {
  EINVAL: 'this kernel does not tell the names of sessions: it takes a newer one',
};

/** A session with an open descriptor. */
export class DeviceSession implements Disposable {
  readonly #fd: number;
  #isOpen = true;

  /**
   * A session whose descriptor came from elsewhere: inherited, or passed over a socket. It belongs
   * to this object from here on.
   *
   * @throws KernelError EINVAL: no number of a descriptor
   */
  constructor(fd: number) {
    this.#fd = checkFd(fd);
  }

  /** The open descriptor. It belongs to this object. @throws KernelError EBADF: closed */
  get fd(): number {
    if (!this.#isOpen) throw new KernelError('EBADF', 'the session is closed');
    return this.#fd;
  }

  /**
   * What the session is called, as the kernel says.
   *
   * @throws KernelError EBADF: closed. ENOTTY, EINVAL: no session, or a kernel that does not tell.
   */
  get name(): string {
    const argument = structOf(GetNameArgument);
    command(
      this.fd,
      LIVEUPDATE_IOCTL.getName,
      argument.bytes,
      'reading the name of a session',
      NAME_REFUSALS,
    );
    return argument.getString(GetNameArgument.name);
  }

  /**
   * Whether it is for the next kernel, or of the one before. Nothing is changed by asking.
   *
   * @throws KernelError EBADF: closed. ENOTTY: no session. EBUSY: an update is on its way.
   */
  get kind(): 'outgoing' | 'incoming' {
    const argument = structOf(FileArgument);
    argument.setI32(FileArgument.fd, -1); // no file: one for the next kernel finds that out, the other refuses
    argument.setU64(FileArgument.token, MOST_TOKEN);
    try {
      command(this.fd, LIVEUPDATE_IOCTL.preserveFd, argument.bytes, 'asking a session for its kind', {});
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EINVAL') return 'incoming';
      // EEXIST: the token is in use
      if (this.#isOpen && (code === 'EBADF' || code === 'EEXIST')) return 'outgoing';
      throw error;
    }
    throw new KernelError('EIO', 'this kernel preserves files that there are none of');
  }

  /**
   * Preserves an open file under a token. From then on it goes along when the kernel is replaced,
   * as its bytes are at that moment; its size cannot be changed until the session is closed. The
   * descriptor stays yours, and may be closed.
   *
   * @param token a whole number or a bigint of at most 64 bits
   * @throws KernelError EINVAL: no descriptor, no token; a session of the kernel before; or a file
   * with a state that cannot go along. EEXIST: the token is in use. EBADF: a descriptor is not
   * open. ENOENT: the kernel has no handler for such files. EBUSY: it is preserved already, or an
   * update is on its way. EOPNOTSUPP: seals that are not carried over. EFBIG, ENOSPC, ENOMEM: too
   * large, no room, no memory.
   */
  preserveFd(fd: number, token: bigint | number): void {
    const argument = structOf(FileArgument);
    argument.setI32(FileArgument.fd, checkFd(fd));
    argument.setU64(FileArgument.token, checkToken(token));
    const tried = `preserving descriptor ${fd} under token ${token}`;
    command(this.fd, LIVEUPDATE_IOCTL.preserveFd, argument.bytes, tried, PRESERVE_REFUSALS);
  }

  /**
   * The file that the kernel before left under a token: a new descriptor, closed on exec, yours.
   * Asking again gives another one of the same file.
   *
   * @throws KernelError ENOENT: nothing was left under it. EINVAL: no token; a session for the next
   * kernel; or what was left is damaged. EBADF: closed. EMFILE, ENFILE, ENOMEM: no descriptor, no
   * memory. EIO and others: what the kernel could not restore; it does not try again.
   */
  retrieveFd(token: bigint | number): number {
    const argument = structOf(FileArgument);
    argument.setU64(FileArgument.token, checkToken(token));
    const tried = `retrieving token ${token}`;
    command(this.fd, LIVEUPDATE_IOCTL.retrieveFd, argument.bytes, tried, RETRIEVE_REFUSALS);
    return argument.getI32(FileArgument.fd);
  }

  /**
   * Says that all is retrieved that is wanted. What was not is given up, and its memory is free.
   *
   * @throws KernelError EINVAL: a session for the next kernel. EBUSY: a file is not ready; nothing
   * has changed. EBADF: closed.
   */
  finish(): void {
    command(
      this.fd,
      LIVEUPDATE_IOCTL.finish,
      structOf(FinishArgument).bytes,
      'finishing a session',
      FINISH_REFUSALS,
    );
  }

  /**
   * Closes the descriptor. Where it was the last one, a session for the next kernel is dropped with
   * all that was preserved in it, and one of the kernel before is finished. Twice is once.
   */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    fs.closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** An argument that says its size and nothing else. */
function structOf(type: { readonly SIZE: number }): StructView {
  const argument = new StructView(new Uint8Array(type.SIZE));
  argument.setU32(FinishArgument.size, type.SIZE); // it is the first field of them all
  return argument;
}

function checkToken(token: bigint | number): bigint {
  const value = typeof token === 'number' && Number.isSafeInteger(token) ? BigInt(token) : token;
  if (typeof value === 'bigint' && value >= 0n && value <= MOST_TOKEN) return value;
  throw new KernelError(
    'EINVAL',
    `${shown(token)} is no token: use a whole number or a bigint of at most 64 bits`,
  );
}
