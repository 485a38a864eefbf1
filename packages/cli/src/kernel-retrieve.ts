/**
 * `liveupdate kernel retrieve` and `finish`: files that the kernel before left, to disk.
 *
 * A session is retrieved once, and given up when the process that did it ends: whatever is wrong
 * with where the files go shows before, and what cannot be written then is kept until this process
 * is ended.
 */
import * as fs from 'node:fs';
import { formatSize, KernelError, Undo } from '@liveupdate/base';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import type { TokenFile } from './kernel-values.ts';
import { printLine, printable } from './output.ts';

/** In place of a file's name: standard output. */
const STDOUT = '-';
/** What was in memory is for root alone. */
const MODE = 0o600;
/** Bytes that are copied at once. */
const CHUNK = 2 * 2 ** 20;

/** A file that is written, under the name that it gets when it is whole. */
interface Target extends TokenFile {
  readonly fd: number;
  readonly partial: string | undefined;
}

/**
 * Writes files of a session to disk and finishes it: what was not named is given up. Returns the
 * exit code.
 *
 * @throws KernelError EEXIST: there is such a file, and no force. EINVAL: standard output is a
 * terminal. ENOENT: no such session, or nothing under a token: the others are written. Others as
 * openDevice, retrieveSession and retrieveFd have them, and those of the file system.
 */
export async function runRetrieve(
  name: string,
  files: readonly TokenFile[],
  { force }: { readonly force: boolean },
): Promise<number> {
  using undo = new Undo();
  const targets = files.map((file) => openTarget(file, force, undo));
  using device = openDevice();
  using session = device.retrieveSession(name);
  device.close(); // others may use it
  let refusal: Error | undefined;
  for (const target of targets) {
    let fd: number;
    try {
      fd = session.retrieveFd(target.token);
    } catch (error) {
      refusal ??= error instanceof Error ? error : new Error(String(error));
      continue;
    }
    const size = await write(fd, target);
    fs.closeSync(fd);
    if (target.file !== STDOUT)
      printLine(`${name}/${target.token}: ${formatSize(size)} written to ${target.file}`);
  }
  finish(session);
  if (refusal) throw refusal;
  return 0;
}

/**
 * Gives up a session with all that is in it. Returns the exit code.
 *
 * @throws KernelError: as openDevice, retrieveSession and finish have them
 */
export function runFinish(name: string): number {
  using device = openDevice();
  using session = device.retrieveSession(name);
  session.finish();
  printLine(`session '${name}' is finished: what was in it is given up`);
  return 0;
}

function finish(session: DeviceSession): void {
  session.finish();
  session.close();
}

/** @throws KernelError EEXIST, EINVAL. What opening a file throws. */
function openTarget({ token, file }: TokenFile, force: boolean, undo: Undo): Target {
  if (file === STDOUT) {
    if (!process.stdout.isTTY) return { token, file, fd: 1, partial: undefined };
    throw new KernelError('EINVAL', 'standard output is a terminal: name a file, or pipe it to a program');
  }
  const there = fs.statSync(file, { throwIfNoEntry: false });
  if (there && !there.isFile()) throw new KernelError('EINVAL', `'${file}' is no regular file: name one`);
  if (there && !force)
    throw new KernelError('EEXIST', `there is a file '${file}': give another name, or --force`);
  const partial = `${file}.partial-${process.pid}`;
  const fd = fs.openSync(partial, 'wx', MODE);
  undo.add(() => {
    fs.closeSync(fd);
    fs.rmSync(partial, { force: true });
  });
  return { token, file, fd, partial };
}

/**
 * Writes a file, which appears under its name when it is whole. Returns its size. Where that fails,
 * as on a full disk, this process stays: the file is in it, and nowhere else.
 */
async function write(from: number, { token, file, fd, partial }: Target): Promise<number> {
  try {
    const size = copy(from, fd);
    if (partial !== undefined) fs.renameSync(partial, file);
    return size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return 0; // the reader has seen enough
    const why = printable(error instanceof Error ? error.message : String(error));
    process.stderr.write(
      `liveupdate: token ${token} cannot be written to '${printable(file)}' (${why}): ` +
        `copy it from /proc/${process.pid}/fd/${from}, and then end this process by Ctrl-C, which gives it up\n`,
    );
    await new Promise((resolve) => {
      process.once('SIGINT', resolve);
      process.once('SIGTERM', resolve);
      setInterval(() => undefined, 2 ** 30);
    });
    process.exit(1);
  }
}

function copy(from: number, to: number): number {
  const chunk = Buffer.alloc(CHUNK);
  for (let position = 0; ;) {
    const length = fs.readSync(from, chunk, 0, CHUNK, position);
    if (length === 0) return position;
    for (let at = 0; at < length;) at += fs.writeSync(to, chunk, at, length - at);
    position += length;
  }
}
