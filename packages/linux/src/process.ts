/**
 * Replacing the process by another program with the same pid (execve), and what comes through.
 *
 * - Through: pid, parent, working directory, descriptors without close-on-exec, OFD locks on them, the soft limit of open files that
 *   Node raised. SIGPIPE and SIGXFSZ, which Node ignores, arrive ignored.
 * - Gone: memory, threads, signal handlers, output that was not written yet. 'exit' handlers never run.
 * - `process.execve` aborts the process when the kernel refuses. So what the kernel could refuse is checked before.
 * - Signals: a handler of Node's runs from the event loop with nothing blocked, so replacing inside one is as good as anywhere. But from
 *   exec until the new program sets its handlers, a signal has its default effect, which for most is the end of the process. Node's
 *   start-up empties the signal mask and resets ignored signals, so nothing set here could bridge that. Set handlers first thing, tell
 *   senders when they stand, and keep RAM that must survive this in a file with a name.
 */
import { KernelError } from '@liveupdate/base';
import { collectKeeper, keepAddressSpace } from './address-space.ts';
import { checkImage } from './exec-limits.ts';
import { closesOnExec, isOpen, setClosesOnExec } from './libc.ts';

export interface ReplaceOptions {
  /** The program, an absolute or relative path; not searched for in PATH. This Node unless given. */
  readonly file?: string;
  /** argv[0] stands first, by custom the program's name. */
  readonly args: readonly string[];
  /** process.env unless given. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Descriptors that the new program gets, under the same numbers; best from 64 up. Standard input, output and error go anyway. */
  readonly keepFds?: readonly number[];
  /** Go on although output written to stdout or stderr is still in this process: it is lost. */
  readonly discardOutput?: boolean;
  /**
   * The memory of this process is taken down by a process beside, so many milliseconds from now, when the new program has started: see
   * `collectKeeper`, which that should call. Worth it from some 100 MiB of mapped RAM on: exec takes 60 ms for each GiB of 4 KiB pages. Where it cannot be
   * done (see `TAKES_DOWN_BESIDE`), it is as without.
   */
  readonly takeDownBeside?: number;
}

/**
 * Replaces this process by another program. It does not return; when it throws, nothing has changed.
 *
 * @throws KernelError ENOSYS: this Node has no process.execve; use Node 22.15, 23.11 or newer. EPERM: called from a worker thread.
 * ENOENT, ENOTDIR, EACCES, ELOOP, EISDIR: no such program or not executable. EINVAL: a NUL in an argument, or a file that is no
 * program. E2BIG: arguments and environment exceed what the kernel takes. EBADF: a descriptor to keep is not open.
 * EAGAIN: output is waiting; `await drainOutput()` first, or set discardOutput.
 */
export function replaceProcess(options: ReplaceOptions): never {
  const execve = (
    process as { execve?: (file: string, args: readonly string[], env: Record<string, string>) => never }
  ).execve;
  if (!execve) {
    throw new KernelError(
      'ENOSYS',
      `Node ${process.versions.node} cannot replace itself: use Node 22.15, 23.11 or newer`,
    );
  }
  const file = options.file ?? process.execPath;
  const env = definedEntries(options.env ?? process.env);
  const kept = options.keepFds ?? [];
  const keeper: Record<string, string> = {};
  checkImage(file, options.args, env);
  if (options.discardOutput !== true) checkOutput();
  const changed = kept.filter((fd) => closesOnExec(fd)); // EBADF comes from here, before anything is changed
  try {
    for (const fd of changed) setClosesOnExec(fd, false);
    // Where the program keeps compiled code on disk, Node would write it at an exit that does not come.
    process.getBuiltinModule('node:module').flushCompileCache();
    if (options.takeDownBeside !== undefined) Object.assign(keeper, keepAddressSpace(options.takeDownBeside));
    return execve.call(process, file, options.args, { ...env, ...keeper });
  } catch (cause) {
    collectKeeper(keeper);
    for (const fd of changed) setClosesOnExec(fd, true);
    // Asking node:worker_threads beforehand would load it at every start, for 3 ms.
    if ((cause as { code?: unknown }).code !== 'ERR_WORKER_UNSUPPORTED_OPERATION') throw cause;
    const why =
      'a worker thread cannot replace the process: post a message to the main thread, and do it there';
    throw new KernelError('EPERM', why, { cause });
  }
}

/**
 * Does now, when nobody waits, what `drainOutput` and `replaceProcess` would do first: makes the streams of standard output and error, which takes 4 ms
 * where nothing was written yet.
 */
export function prepareReplacement(): void {
  for (const name of ['stdout', 'stderr'] as const) Reflect.get(process, name);
}

/** Resolves when everything written to stdout and stderr has left this process. It waits as long as the reader takes. */
export async function drainOutput(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writableLength === 0) continue;
    await new Promise<void>((resolve) => {
      stream.write('', () => {
        resolve();
      });
    });
  }
}

/**
 * Nanoseconds of CLOCK_MONOTONIC: one clock for all processes of this host, so a time taken before exec can be compared with one
 * taken after. It stands still while the host sleeps and begins anew when it boots.
 */
export function monotonicNow(): bigint {
  return process.hrtime.bigint();
}

/**
 * The descriptor whose number stands in an environment variable; undefined where the variable is not set or empty.
 *
 * @throws KernelError EINVAL: not a number. EBADF: no such descriptor is open: it was not kept, or the variable is another program's
 */
export function inheritedFd(
  name: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): number | undefined {
  const text = env[name];
  if (text === undefined || text === '') return undefined;
  const fd = Number(text);
  if (!/^\d{1,9}$/.test(text))
    throw new KernelError('EINVAL', `${name}='${text}' is not the number of a descriptor: unset it`);
  if (!isOpen(fd)) {
    throw new KernelError(
      'EBADF',
      `${name}=${fd}, but this descriptor is not open: name it in keepFds, or unset the variable`,
    );
  }
  return fd;
}

function definedEntries(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const defined: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined) defined[name] = value;
  return defined;
}

function checkOutput(): void {
  const waiting = process.stdout.writableLength + process.stderr.writableLength;
  if (waiting > 0) {
    const what = `${waiting} bytes of output are still in this process and would be lost`;
    throw new KernelError('EAGAIN', `${what}: await drainOutput() first, or set discardOutput`);
  }
}
