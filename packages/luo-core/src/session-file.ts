/**
 * A session behind a descriptor. Closing its last descriptor closes the session: an outgoing one
 * unpreserves its files, last first; a retrieved one is finished, and stays where that is refused.
 * While a handover is on its way nothing is closed; where that is called off, it is then. Its
 * commands go by what kind of session it is. A session that was finished is an empty one until it
 * is closed.
 */
import { assert, KernelError, type StructView, isBranded, type Branded } from '@liveupdate/base';
import type { MaybePromise } from './callback-types.ts';
import type { DescriptorTable, ReleasableFile } from './descriptors.ts';
import type { PreservableFile } from './handler.ts';
import type { HeldSessions } from './held-sessions.ts';
import { IncomingSession } from './incoming-session.ts';
import { callCommand, type Command } from './ioctl.ts';
import { OutgoingSession } from './outgoing-session.ts';
import { FileArgument, FinishArgument, GetNameArgument, LIVEUPDATE_IOCTL } from './uapi.ts';
import { COPY } from './package-copy.ts';

type Session = OutgoingSession | IncomingSession;

const BRAND: Branded = { className: 'SessionFile', copy: COPY };

export class SessionFile implements ReleasableFile {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  #session: Session | undefined;
  #references = 1;
  readonly #held: HeldSessions;

  private constructor(held: HeldSessions) {
    this.#held = held;
  }

  /**
   * Makes a session with a descriptor, close-on-exec. The number is taken first: where none is
   * free, no session is made or retrieved.
   *
   * @param held what its device knows of such sessions
   * @throws KernelError EMFILE: no number is free. What `make` throws; the number is free again.
   */
  static install(descriptors: DescriptorTable, held: HeldSessions, make: () => Session): number {
    const file = new SessionFile(held);
    const fd = descriptors.install(file, { closeOnExec: true });
    try {
      file.#session = make();
      if (file.#session instanceof IncomingSession) held.names.add(file.#session.name);
    } catch (error) {
      void descriptors.close(fd); // there is no session yet that could be closed
      throw error;
    }
    return fd;
  }

  ioctl(descriptors: DescriptorTable, request: number, argument: Uint8Array): Promise<void> {
    return callCommand(COMMANDS, this, request, argument, descriptors);
  }

  get(): void {
    this.#checkOpen();
    this.#references += 1;
  }

  /** Drops a reference that is no descriptor. @throws KernelError EBADF: closed */
  put(): void {
    void Promise.resolve(this.release()).catch(() => undefined); // nobody is there to be told
  }

  /** @throws KernelError EBADF: closed. What closing the session throws, which is waited for. */
  release(): MaybePromise<void> {
    this.#checkOpen();
    this.#references -= 1;
    if (this.#references > 0 || !this.#session) return undefined;
    if (this.#session instanceof IncomingSession) this.#held.names.delete(this.#session.name);
    return this.#session.release();
  }

  /** Preserves the file that a descriptor is of. */
  preserve(find: () => PreservableFile, token: bigint): Promise<void> {
    return outgoing(this).preserveFrom(() => {
      const file = find();
      const from = this.#held.files.get(file);
      if (from?.state !== 'open') return file;
      throw new KernelError('EBUSY', `the file came from session '${from.name}': finish that first`);
    }, token);
  }

  /** A file of the kernel before, with a reference. A session that is finished has none. */
  async retrieve(token: bigint): Promise<PreservableFile> {
    const session = incoming(this);
    if (session.state === 'finished')
      throw new KernelError('ENOENT', `session '${session.name}' is finished: it has no file`);
    const file = await session.retrieve(token);
    this.#held.files.set(file, session);
    return file;
  }

  /** Finishes the session; as on Linux, twice is once. */
  async finish(): Promise<void> {
    const session = incoming(this);
    if (session.state !== 'finished') await session.finish();
  }

  #checkOpen(): void {
    if (this.#references === 0) throw new KernelError('EBADF', 'the descriptor of the session is closed');
  }

  get session(): Session {
    assert(this.#session !== undefined, 'a descriptor that somebody knows has its session');
    return this.#session;
  }
}

function outgoing({ session }: SessionFile): OutgoingSession {
  if (session instanceof OutgoingSession) return session;
  throw new KernelError(
    'EINVAL',
    `session '${session.name}' is of the previous kernel: nothing is preserved in it`,
  );
}

function incoming({ session }: SessionFile): IncomingSession {
  if (session instanceof IncomingSession) return session;
  throw new KernelError(
    'EINVAL',
    `session '${session.name}' is for the next kernel: there is nothing to retrieve`,
  );
}

const COMMANDS: readonly Command<SessionFile>[] = [
  {
    request: LIVEUPDATE_IOCTL.preserveFd,
    size: FileArgument.SIZE,
    run(file, argument, descriptors) {
      const fd = argument.getI32(FileArgument.fd);
      return file.preserve(() => descriptors.get(fd), argument.getU64(FileArgument.token));
    },
  },
  {
    request: LIVEUPDATE_IOCTL.retrieveFd,
    size: FileArgument.SIZE,
    async run(file, argument, descriptors) {
      const retrieved = await file.retrieve(argument.getU64(FileArgument.token));
      try {
        argument.setI32(FileArgument.fd, descriptors.install(retrieved, { closeOnExec: true }));
      } catch (error) {
        retrieved.put?.();
        throw error;
      }
    },
  },
  {
    request: LIVEUPDATE_IOCTL.finish,
    size: FinishArgument.SIZE,
    run(file, argument) {
      checkReserved(argument);
      return file.finish();
    },
  },
  {
    request: LIVEUPDATE_IOCTL.getName,
    size: GetNameArgument.SIZE,
    run({ session }, argument) {
      checkReserved(argument);
      argument.setString(GetNameArgument.name, session.name);
    },
  },
];

/** finish and getName have their reserved word at the same place. */
function checkReserved(argument: StructView): void {
  if (argument.getU32(FinishArgument.reserved) !== 0)
    throw new KernelError('EINVAL', 'the reserved field is not 0');
}
