/**
 * Replacing the process by another program with the same pid (execve), and what comes through.
 *
 * - Through: pid, parent, working directory, descriptors without close-on-exec, OFD locks on them,
 *   the soft limit of open files that Node raised. SIGPIPE and SIGXFSZ, which Node ignores, arrive
 *   ignored.
 * - Gone: memory, threads, signal handlers, output that was not written yet. 'exit' handlers never
 *   run.
 * - The call is libc's own, so a refusal is an error: Node's `process.execve` ends the process
 *   then.
 * - Who has something to do at the last moment listens for `BEFORE_REPLACE_EVENT` on `process`.
 * - Signals: a handler of Node's runs from the event loop with nothing blocked, so replacing inside
 *   one is as good as anywhere. But from exec until the new program sets its handlers, a signal has
 *   its default effect, which for most is the end of the process. Node's start-up empties the
 *   signal mask and resets ignored signals, so nothing set here could bridge that. Set handlers
 *   first thing, tell senders when they stand, and keep RAM that must survive this in a file with a
 *   name.
 */
import { checkFlag, checkObject, checkList, checkOptions, checkText, KernelError } from '@liveupdate/base';
import { childrenVariable } from './children.ts';
import { closesOnExec, execve, isMainThread, isOpen, setClosesOnExec } from './libc.ts';
import { checkEnvironment, checkPath } from './inputs.ts';
import { checkWholeProgram } from './program-file.ts';

/**
 * Event of `process` right before a replacement, with the environment of the new program, to which
 * a listener may add. What a listener throws calls the replacement off. It may be refused
 * afterwards.
 */
export const BEFORE_REPLACE_EVENT = 'liveupdate:beforeReplace';

export interface ReplaceOptions {
  /**
   * The program, an absolute or relative path; not searched for in PATH. This Node unless given.
   */
  readonly file?: string;
  /** argv[0] stands first, by custom the program's name. */
  readonly args: readonly string[];
  /** process.env unless given. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /**
   * Descriptors that the new program gets, under the same numbers; best from 64 up. Standard input,
   * output and error go anyway.
   */
  readonly keepFds?: readonly number[];
  /** Go on although output written to stdout or stderr is still in this process: it is lost. */
  readonly discardOutput?: boolean;
}

/** Standard input, output and error. Node closes them at exec, and so would we. */
const STANDARD_FDS = [0, 1, 2] as const;

/**
 * Replaces this process by another program. It does not return; when it throws, nothing has
 * changed. Children of this process stay its children: the new program should call
 * `collectChildren`.
 *
 * @throws KernelError EPERM: called from a worker thread. EAGAIN: output is waiting; `await
 * drainOutput()` first, or set discardOutput; or the user has too many processes. EBADF: a
 * descriptor to keep is not open. EINVAL: a NUL in a string, or no arguments. As the kernel refuses
 * it: ENOENT: no such program, or its interpreter or loader is missing. EACCES: not executable, a
 * directory, or on a file system mounted noexec. ENOEXEC: no program for this machine, or one that
 * is cut short. ELIBBAD: its loader is none. ETXTBSY: it is open for writing. E2BIG: arguments and
 * environment are too long. ELOOP, ENOTDIR, ENAMETOOLONG: the path. ENOMEM, EIO, EPERM, EMFILE,
 * ENFILE: as execve(2) has them. EOPNOTSUPP: not Linux on x64 or arm64. What a listener for
 * BEFORE_REPLACE_EVENT throws.
 */
export function replaceProcess(options: ReplaceOptions): never {
  checkReplacement(options);
  if (options.discardOutput !== true) checkOutput();
  const file = options.file ?? process.execPath;
  const env = definedEntries(options.env ?? process.env);
  const kept = [...STANDARD_FDS.filter((fd) => isOpen(fd)), ...(options.keepFds ?? [])];
  const changed = kept.filter((fd) => closesOnExec(fd));
  try {
    for (const fd of changed) setClosesOnExec(fd, false);
    // Where the program keeps compiled code on disk, Node would write it at an exit that does not
    // come.
    process.getBuiltinModule('node:module').flushCompileCache();
    Object.assign(env, childrenVariable());
    (process as NodeJS.EventEmitter).emit(BEFORE_REPLACE_EVENT, env);
    checkStrings(file, [file], env); // listeners may have added to it
    throw execve(file, options.args, asStrings(env));
  } finally {
    for (const fd of changed) setClosesOnExec(fd, true);
  }
}

/**
 * Checks ahead what `replaceProcess` checks, but for output that waits: what the kernel thinks of
 * the program is known only then.
 *
 * @throws KernelError EPERM, EBADF, EINVAL, ENOEXEC, EOPNOTSUPP: as replaceProcess
 */
export function checkReplacement(options: ReplaceOptions): void {
  checkOptions(options, 'a replacement', ['file', 'args', 'env', 'keepFds', 'discardOutput']);
  const { file = process.execPath, args, env = process.env, keepFds = [], discardOutput = false } = options;
  checkPath(file);
  for (const text of checkList(args, 'a list of arguments')) checkText(text, 'an argument');
  checkEnvironment(env);
  checkList(keepFds, 'a list of descriptors');
  checkFlag(discardOutput, 'discardOutput');
  if (!isMainThread()) {
    const why =
      'a worker thread cannot replace the process: post a message to the main thread, and do it there';
    throw new KernelError('EPERM', why);
  }
  checkStrings(file, args, definedEntries(env));
  checkWholeProgram(file);
  for (const fd of keepFds) closesOnExec(fd); // EBADF comes from here
}

/**
 * Does now, when nobody waits, what `drainOutput` and `replaceProcess` would do first: makes the
 * streams of standard output and error, which takes 4 ms where nothing was written yet.
 */
export function prepareReplacement(): void {
  for (const name of ['stdout', 'stderr'] as const) Reflect.get(process, name);
}

/**
 * Resolves when everything written to stdout and stderr has left this process. It waits as long as
 * the reader takes.
 */
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

/** Whether this process is a worker of node:cluster, whose place in it does not go through exec. */
export function isClusterWorker(): boolean {
  if (process.send === undefined) return false; // without a channel there is no cluster: it is not loaded
  const cluster: unknown = process.getBuiltinModule('node:cluster');
  return (cluster as { readonly isWorker: boolean }).isWorker;
}

/**
 * Nanoseconds of CLOCK_MONOTONIC: one clock for all processes of this host, so a time taken before
 * exec can be compared with one taken after. It stands still while the host sleeps and begins anew
 * when it boots.
 */
export function monotonicNow(): bigint {
  return process.hrtime.bigint();
}

/**
 * The descriptor whose number stands in an environment variable; undefined where the variable is
 * not set or empty.
 *
 * @throws KernelError EINVAL: not a number. EBADF: no such descriptor is open: it was not kept, or
 * the variable is another program's
 */
export function inheritedFd(
  name: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): number | undefined {
  checkText(name, 'a name of a variable');
  checkObject(env, 'an environment');
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

function asStrings(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}

/** What C strings cannot carry: they end at a NUL. */
function checkStrings(file: string, args: readonly string[], env: Readonly<Record<string, string>>): void {
  if (args.length === 0)
    throw new KernelError('EINVAL', 'args is empty: its first element is the name of the program');
  const named = Object.keys(env).find((name) => name.includes('='));
  if (named !== undefined)
    throw new KernelError(
      'EINVAL',
      `the variable '${named}' has '=' in its name, where its value would begin`,
    );
  for (const text of [file, ...args, ...asStrings(env)]) {
    if (!text.includes('\0')) continue;
    const start = text.slice(0, 40).replaceAll('\0', '\\0');
    throw new KernelError('EINVAL', `'${start}' holds a NUL character, which ends a string for the kernel`);
  }
}

function checkOutput(): void {
  const waiting = process.stdout.writableLength + process.stderr.writableLength;
  if (waiting > 0) {
    const what = `${waiting} bytes of output are still in this process and would be lost`;
    throw new KernelError('EAGAIN', `${what}: await drainOutput() first, or set discardOutput`);
  }
}
