/**
 * What the kernel's refusals mean, command by command: the same errno says different things, and
 * each sentence tells what to do.
 */
import { KernelError, type ErrnoCode } from '@liveupdate/base';
import { ioctlBytes } from '@liveupdate/linux';

/** Sentences by errno. */
export type Refusals = Readonly<Partial<Record<ErrnoCode, string>>>;

/** What may stand in the way of every command. */
const ALWAYS: Refusals = {
  EBADF: 'the descriptor is closed, or was not open for this',
  EBUSY: 'an update is on its way: nothing can be changed until it is over',
  EMFILE: 'too many descriptors are open: close some, or raise `ulimit -n`',
  ENFILE: 'the system has too many files open: close some, or raise fs.file-max',
  ENOMEM: 'the kernel has no memory for it: free some',
  ENOTTY: 'this descriptor, or this kernel, does not know the command: it takes Linux 6.19 or newer',
};

/**
 * A command of the device or of a session.
 *
 * @param tried what is told first where it is refused
 * @throws KernelError as the kernel refuses it
 */
export function command(
  fd: number,
  request: number,
  argument: Uint8Array,
  tried: string,
  refusals: Refusals,
): void {
  try {
    ioctlBytes(fd, request, argument);
  } catch (error) {
    throw explained(error, tried, refusals);
  }
}

/** The same error with a sentence of its own, where there is one. */
function explained(error: unknown, tried: string, refusals: Refusals): unknown {
  if (!(error instanceof KernelError)) return error;
  const why = refusals[error.code] ?? ALWAYS[error.code];
  if (why === undefined) return error;
  return new KernelError(error.code, `${tried}: ${why}`, { cause: error });
}
