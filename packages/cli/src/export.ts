/**
 * `liveupdate export`: a preserved file, read out of an image or a RAM file and written to disk or
 * to standard output. The image is only read.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { formatSize, KernelError } from '@liveupdate/base';
import { readHandover } from '@liveupdate/kho';
import { readLuo, type FileRecord } from '@liveupdate/luo-core';
import { readMemfdFolios, readMemfdRecord } from '@liveupdate/memfd-handler';
import { forEachDataRun } from './data-runs.ts';
import { forEachPart, type FileContent } from './file-content.ts';
import { isMemfd, preservedOrder, recordAddress } from './inspection.ts';
import {
  openImage,
  progressOnTerminal,
  resolveImagePath,
  type ImageHints,
  type OpenImage,
} from './open-image.ts';
import type { FileName } from './option-values.ts';
import { printLine } from './output.ts';
import type { Progress } from './progress.ts';
import { untilTold } from './until-told.ts';

export interface ExportOptions extends ImageHints {
  /** Write over a file that is there. */
  readonly force: boolean;
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
 * taken over meanwhile. Others as openImage has them. Nothing is left at `to` then that was not
 * there before; what standard output got by then cannot be taken back.
 */
export async function runExport(
  from: string,
  which: FileName,
  to: string,
  { force, ...hints }: ExportOptions,
): Promise<number> {
  checkTarget(to, force);
  using image = await openImage(resolveImagePath(from), hints);
  const content = findContent(image, which);
  if (to === STDOUT) {
    await withProgress(content, (progress) => writeToStdout(content, progress));
    image.checkUnchanged();
    return 0;
  }
  await untilTold(`nothing is left at '${to}'`, (signal) => writeWhole(image, content, to, signal));
  printLine(`${which.session}/${which.token}: ${formatSize(content.size)} written to ${to}`);
  return 0;
}

/** Writes the file, which appears under its name when all of it is there. */
async function writeWhole(
  image: OpenImage,
  content: FileContent,
  to: string,
  signal: AbortSignal,
): Promise<void> {
  const partial = `${to}.partial-${process.pid}`;
  const fd = fs.openSync(partial, 'wx', MODE);
  try {
    await withProgress(content, (progress) => writeContent(fd, content, progress, signal));
    image.checkUnchanged();
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

function findContent(image: OpenImage, { session, token }: FileName): FileContent {
  const { ram } = image;
  const handover = readHandover(ram, image.entry);
  const found = readLuo(ram, handover)?.sessions.find(({ name }) => name === session);
  if (!found)
    throw new KernelError(
      'ENOENT',
      `there is no session '${session}' in it: 'liveupdate inspect' lists them`,
    );
  const file = found.files.find((each) => each.token === token);
  if (!file)
    throw new KernelError(
      'ENOENT',
      `session '${session}' has no file ${token}: it has ${listTokens(found.files)}`,
    );
  if (!isMemfd(file))
    throw new KernelError(
      'EOPNOTSUPP',
      `${session}/${token} is of kind '${file.compatible}': only memfds can be exported`,
    );
  const record = readMemfdRecord(ram, recordAddress(file), file.compatible);
  const folios = readMemfdFolios(ram, record, (pfn) => preservedOrder(handover, pfn));
  return { ram, size: record.size, folios, table: handover.table };
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
