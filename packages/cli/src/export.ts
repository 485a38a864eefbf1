/**
 * `liveupdate export`: a preserved file, read out of an image or a RAM file and written to disk or
 * to standard output. The image is only read.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { formatSize, KernelError } from '@liveupdate/base';
import type { FileRecord } from '@liveupdate/luo-core';
import { forEachDataRun } from './data-runs.ts';
import { forEachPart, type FileContent } from './file-content.ts';
import { fromLeft, sessionsOf, type Left } from './left.ts';
import {
  openImage,
  progressOnTerminal,
  resolveImagePath,
  type ImageHints,
  type OpenImage,
} from './open-image.ts';
import type { FileName } from './option-values.ts';
import { printLine } from './output.ts';
import { isMemfd, isSameFile, readPreserved, reasonOf, type PreservedMemfd } from './preserved-file.ts';
import type { Progress } from './progress.ts';
import { untilTold } from './until-told.ts';

export interface ExportOptions extends ImageHints {
  /** Write over a file that is there. */
  readonly force: boolean;
  /** Look in the older sessions of the name, which a kernel that died had not finished. */
  readonly unfinished: boolean;
}

/** In place of a file's name: standard output. */
const STDOUT = '-';
/** A RAM is for its owner alone, and so is what was in it. */
const MODE = 0o600;
/** Written over and over where a file has nothing but zeros. */
const ZEROS = new Uint8Array(2 ** 16);

/**
 * Writes the file `which` of `from` to `to`. Returns the exit code.
 *
 * @throws KernelError ENOENT: no such session or file. EOPNOTSUPP: a file of another kind. EEXIST:
 * there is a file `to`, and no force. EINVAL: `to` is something else than a file, or standard
 * output that is a terminal; or the record is damaged. EINTR: told to stop. EBUSY: the RAM was
 * handed over or taken over meanwhile. EAGAIN: its owner publishes changes all the time, or has
 * changed this file meanwhile. Others as openImage has them. Nothing is left at `to` then that was
 * not there before; what standard output got by then cannot be taken back.
 */
export async function runExport(
  from: string,
  which: FileName,
  to: string,
  { force, unfinished, ...hints }: ExportOptions,
): Promise<number> {
  checkTarget(to, force);
  using image = await openImage(resolveImagePath(from), hints);
  const find = (): Promise<PreservedMemfd> => fromLeft(image, (left) => findFile(left, which, unfinished));
  const found = await find();
  const { content } = found;
  /** Whether what was written is that file. */
  const check = async (): Promise<void> => {
    image.checkUnchanged();
    if (image.owner === 'lives' && !isSameFile(found, await find()))
      throw new KernelError('EAGAIN', 'the owner of this RAM changed this file meanwhile: try again');
  };
  if (to === STDOUT) {
    await withProgress(content, (progress) => writeToStdout(content, progress));
    await check();
  } else {
    await untilTold(`nothing is left at '${to}'`, (signal) => writeWhole(content, to, check, signal));
    printLine(`${which.session}/${which.token}: ${formatSize(content.size)} written to ${to}`);
  }
  tellTorn(image);
  return 0;
}

/** Says what is not known of the content. */
function tellTorn({ page, owner }: OpenImage): void {
  if (!page || (owner !== 'lives' && owner !== 'unknown')) return;
  const why =
    owner === 'lives'
      ? `generation ${page.generation} (pid ${page.ownerPid}) is at work in this RAM`
      : `this copy was made while generation ${page.generation} ran, or after it died`;
  process.stderr.write(`liveupdate: ${why}: the content may be torn between two of its writes\n`);
}

/** Writes the file, which appears under its name when all of it is there. */
async function writeWhole(
  content: FileContent,
  to: string,
  check: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const partial = `${to}.partial-${process.pid}`;
  const fd = fs.openSync(partial, 'wx', MODE);
  try {
    await withProgress(content, (progress) => writeContent(fd, content, progress, signal));
    await check();
    fs.renameSync(partial, to);
  } catch (error) {
    fs.rmSync(partial, { force: true });
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

function checkTarget(to: string, force: boolean): void {
  if (to === STDOUT) {
    if (!process.stdout.isTTY) return;
    throw new KernelError(
      'EINVAL',
      'standard output is a terminal: give the name of a file, or pipe it to a program',
    );
  }
  const there = fs.statSync(to, { throwIfNoEntry: false });
  if (!there && !fs.existsSync(dirname(to)))
    throw new KernelError('ENOENT', `there is no folder '${dirname(to)}': make it first`);
  if (!there) return;
  if (!there.isFile())
    throw new KernelError(
      'EINVAL',
      `'${to}' is no regular file: give the name of one, or - for standard output`,
    );
  if (!force) throw new KernelError('EEXIST', `there is a file '${to}': give another name, or --force`);
}

/** @throws KernelError ENOENT, EOPNOTSUPP, EINVAL and others: see runExport */
function findFile(left: Left, { session, token }: FileName, unfinished: boolean): PreservedMemfd {
  const all = sessionsOf(left).filter(({ name }) => name === session);
  const older = all.filter(({ isOlder }) => isOlder).reverse();
  const among = unfinished ? older : all.filter(({ isOlder }) => !isOlder);
  if (among.length === 0) throw noSession(session, left, unfinished);
  const has = ({ files }: { readonly files: readonly FileRecord[] }): FileRecord | undefined =>
    files.find((each) => each.token === token);
  const file = among.map(has).find((each) => each !== undefined);
  if (!file) {
    const isOlder = !unfinished && older.some((each) => has(each));
    const hint = isOlder ? '; an older one that is not finished has it: --unfinished' : '';
    const tokens = listTokens(among.flatMap(({ files }) => files));
    throw new KernelError('ENOENT', `session '${session}' has no file ${token}: it has ${tokens}${hint}`);
  }
  if (!isMemfd(file))
    throw new KernelError(
      'EOPNOTSUPP',
      `${session}/${token} is of kind '${file.compatible}': only memfds can be exported`,
    );
  return readPreserved(left, file);
}

function noSession(session: string, { damage }: Left, unfinished: boolean): KernelError {
  const what = unfinished ? `no older session '${session}' that is not finished` : `no session '${session}'`;
  if (damage.length === 0)
    return new KernelError('ENOENT', `there is ${what} in it: 'liveupdate inspect' lists them`);
  const where = `what is in it is damaged (${reasonOf(damage[0])})`;
  return new KernelError(
    'ENOENT',
    `there is ${what} to be found in it, and ${where}: see 'liveupdate check'`,
  );
}

function listTokens(files: readonly FileRecord[]): string {
  const shown = files.slice(0, 10).map(({ token }) => String(token));
  return shown.length === 0 ? 'none' : `${shown.join(', ')}${files.length > shown.length ? ', …' : ''}`;
}

/**
 * Writes the parts at their places: what lies between them, and pages of zeros in them, stay holes.
 */
async function writeContent(
  fd: number,
  content: FileContent,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  let done = 0;
  await forEachPart(content, (part, position) => {
    signal.throwIfAborted();
    forEachDataRun(part, position, (from, to) => {
      for (let at = from; at < to;) at += fs.writeSync(fd, part, at, to - at, position + at);
    });
    progress.add(position + part.length - done); // with the hole before it
    done = position + part.length;
  });
  fs.ftruncateSync(fd, content.size);
  progress.add(content.size - done);
}

async function withProgress(
  { size }: FileContent,
  write: (progress: Progress) => Promise<void>,
): Promise<void> {
  const progress = await progressOnTerminal('export', size);
  try {
    await write(progress);
  } finally {
    progress.stop();
  }
}

/** Writes all bytes, zeros too. Ends where the reader has seen enough. */
async function writeToStdout(content: FileContent, progress: Progress): Promise<void> {
  let done = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    await written(bytes);
    done += bytes.length;
    progress.add(bytes.length);
  };
  const putZerosUntil = async (end: number): Promise<void> => {
    while (done < end) await put(ZEROS.subarray(0, Math.min(ZEROS.length, end - done)));
  };
  try {
    await forEachPart(content, async (part, position) => {
      await putZerosUntil(position);
      await put(part);
    });
    await putZerosUntil(content.size);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

async function written(bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
