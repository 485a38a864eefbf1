/**
 * `liveupdate kernel preserve`: files from disk become files in memory that the next kernel gets.
 *
 * A session lives while a process holds it, so this one stays: in the foreground until it is told
 * to stop, or in the background. The kernel that is replaced ends it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { codeOf, formatSize, KernelError, Undo, type ErrnoCode } from '@liveupdate/base';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { Memfd } from '@liveupdate/linux';
import type { TokenFile } from './kernel-values.ts';
import { printJson, printLine } from './output.ts';

export interface PreserveOptions {
  /** Leave a process in the background that holds the session. */
  readonly background: boolean;
  /** This is that process. */
  readonly holder: boolean;
  readonly json: boolean;
}

/** What is told when the session stands. */
interface Held {
  readonly session: string;
  readonly pid: number;
  readonly files: readonly { readonly token: string; readonly file: string; readonly size: number }[];
}

/** What the process in the background tells the one that the user started. */
type Told = { readonly held: Held } | { readonly code: ErrnoCode; readonly message: string };

/** In place of a file's name: standard input. */
const STDIN = '-';
/** Bytes that are copied at once. */
const CHUNK = 2 * 2 ** 20;
const MFD_CLOEXEC = 1;
/** Linux takes names of at most 249 bytes, and these are for people. */
const MOST_NAME = 100;

/**
 * Preserves copies of files in a session, and holds it. Returns the exit code, in the background as
 * soon as the session stands.
 *
 * @throws KernelError ENOENT, EACCES, EINVAL: no such file, not allowed, no regular file. EINTR:
 * told to stop; nothing goes along. Others as openDevice, createSession and preserveFd have them;
 * then there is no session.
 */
export async function runPreserve(
  name: string,
  files: readonly TokenFile[],
  { background, holder, json }: PreserveOptions,
): Promise<number> {
  if (holder) return holdForParent(name, files);
  if (background) {
    tell(await startHolder(name, files), json);
    return 0;
  }
  using session = preserveAll(name, files);
  const ended = untilEnded(); // whoever is told may end us at once
  tell(heldBy(session.held, process.pid), json);
  const signal = await ended;
  session.session.close();
  throw new KernelError('EINTR', `${signal}: session '${name}' is dropped, nothing of it goes along`);
}

function heldBy(held: Omit<Held, 'pid'>, pid: number): Held {
  return { ...held, pid };
}

/** The session, with copies of all files in it; or none. */
function preserveAll(
  name: string,
  files: readonly TokenFile[],
): { readonly session: DeviceSession; readonly held: Omit<Held, 'pid'> } & Disposable {
  for (const { file } of files) checkSource(file);
  using undo = new Undo();
  using device = openDevice();
  const session = device.createSession(name);
  undo.add(() => {
    session.close();
  });
  const sizes = files.map(({ token, file }) => {
    using copy = copyOf(file);
    session.preserveFd(copy.fd, token);
    return { token: String(token), file, size: copy.stat().size };
  });
  undo.keep();
  const end = (): void => {
    session.close();
  };
  return { session, held: { session: name, files: sizes }, [Symbol.dispose]: end };
}

function checkSource(file: string): void {
  if (file === STDIN) return;
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (!stat) throw new KernelError('ENOENT', `there is no file '${file}': give one, or - for standard input`);
  if (!stat.isFile()) throw new KernelError('EINVAL', `'${file}' is no regular file: give one`);
}

/** A file in memory with the content of a file. */
function copyOf(file: string): Memfd {
  using undo = new Undo();
  const from = file === STDIN ? 0 : fs.openSync(file, 'r');
  if (from !== 0) {
    undo.add(() => {
      fs.closeSync(from);
    });
  }
  const copy = Memfd.create(Buffer.from(file).subarray(-MOST_NAME).toString('latin1'), MFD_CLOEXEC);
  try {
    const chunk = Buffer.alloc(CHUNK);
    for (;;) {
      const length = fs.readSync(from, chunk);
      if (length === 0) break;
      for (let at = 0; at < length;) at += copy.write([chunk.subarray(at, length)]);
    }
    return copy;
  } catch (error) {
    copy.close();
    throw error;
  }
}

/** Resolves with the signal that ends this process, which does nothing else. */
async function untilEnded(): Promise<string> {
  const busy = setInterval(() => undefined, 2 ** 30);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const signal = await new Promise<string>((resolve) => {
    for (const each of signals) process.once(each, resolve);
  });
  clearInterval(busy);
  return signal;
}

/** The process in the background: tells how it went, and then holds the session without a word. */
async function holdForParent(name: string, files: readonly TokenFile[]): Promise<number> {
  const told = (what: Told): void => {
    process.send?.(what);
  };
  try {
    using session = preserveAll(name, files);
    const ended = untilEnded();
    told({ held: heldBy(session.held, process.pid) });
    process.disconnect();
    await ended;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = codeOf(error);
    told({ code, message: message.replace(new RegExp(`^${code}: `), '') });
  }
  return 1;
}

/** Starts the process that holds the session, and leaves it when that stands. */
async function startHolder(name: string, files: readonly TokenFile[]): Promise<Held> {
  const words = files.map(({ token, file }) => `${token}=${file}`);
  const script = process.argv[1];
  const args = [...process.execArgv, script, 'kernel', 'preserve', '--holder', '--', name, ...words];
  const child = spawn(process.execPath, args, {
    detached: true,
    // Nothing that whoever reads our output would wait for.
    stdio: [files.some(({ file }) => file === STDIN) ? 'inherit' : 'ignore', 'ignore', 'ignore', 'ipc'],
  });
  const answer = (await Promise.race([once(child, 'message'), once(child, 'exit').then(() => [])])) as Told[];
  const told = answer.at(0);
  if (told === undefined) throw new KernelError('EIO', 'the process that was to hold the session has ended');
  if ('code' in told) throw new KernelError(told.code, told.message);
  child.disconnect();
  child.unref();
  return told.held;
}

function tell(held: Held, json: boolean): void {
  if (json) {
    printJson(held);
    return;
  }
  for (const { token, file, size } of held.files)
    printLine(
      `${held.session}/${token}: ${formatSize(size)} from ${file === STDIN ? 'standard input' : file}`,
    );
  const count = held.files.length === 1 ? '1 file' : `${held.files.length} files`;
  printLine(`session '${held.session}', ${count}: process ${held.pid} holds it until the kernel is replaced`);
}
