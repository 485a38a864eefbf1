/**
 * `liveupdate import`: a file from disk becomes part of a RAM's handover. The command is one
 * generation of that machine: it takes the RAM over, handed over or of an owner that died, adds the
 * file to what is in it, and hands over again. Whatever happens before that, be it kill -9, the RAM
 * is as it was.
 */
import * as fs from 'node:fs';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { byteLength, formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { Machine, type Kernel } from '@liveupdate/kexec';
import { MAX_SESSION_NAME } from '@liveupdate/luo-core';
import { CHUNK, counting, sparseWriter } from './sparse-writer.ts';
import { progressOnTerminal } from './open-image.ts';
import type { FileName } from './option-values.ts';
import { printLine } from './output.ts';
import { silent } from './progress.ts';
import { pathOfRam } from './ram-name.ts';
import { untilTold } from './until-told.ts';
import { UsageError } from './usage-error.ts';

export interface ImportOptions {
  /** Bytes of RAM, where there is none yet, or less. */
  readonly size?: number | undefined;
  /** Whether the file gets 2 MiB folios. */
  readonly huge?: boolean | undefined;
}

/**
 * Puts the file `from` into the RAM `to`, as `which`. Returns the exit code.
 *
 * @throws UsageError: no name of a RAM, or of a session. KernelError EEXIST: the session has such a
 * file. EBUSY: a kernel that died left two sessions of one name. EINVAL: `from` is no file. EINTR:
 * told to stop. ENOMEM, ENOSPC: no room for it, or none to hand over again what is there. Others as
 * Machine.open has them. The RAM is as it was; one that was made for this is gone again.
 */
export async function runImport(
  to: string,
  which: FileName,
  from: string,
  { size, huge = false }: ImportOptions,
): Promise<number> {
  const path = pathOfRam(to);
  if (byteLength(which.session) > MAX_SESSION_NAME)
    throw new UsageError(`a session's name has ${MAX_SESSION_NAME} bytes at most: '${which.session}'`);
  const sizeBefore = fs.statSync(path, { throwIfNoEntry: false })?.size;
  const isNew = sizeBefore === undefined;
  if (isNew && size === undefined)
    throw new KernelError(
      'ENOENT',
      `there is no RAM at ${path}: to make it, say how large, such as --size 2GiB`,
    );
  const source = openSource(from); // before anything is taken over
  const machine = await Machine.open({ path, keepHandover: true, ...(size !== undefined && { size }) });
  let imported: number;
  try {
    await takeAlong(machine.kernel, which.session);
    imported = await untilTold('nothing was imported, the RAM is as it was', (signal) =>
      importInto(machine.kernel, which, source, huge, signal),
    );
    await machine.handOver();
  } catch (error) {
    source.stream.destroy();
    if (isNew) machine.remove();
    else machine.abandon();
    throw error;
  }
  const origin = from === '-' ? 'standard input' : from;
  const told = `${which.session}/${which.token}: ${formatSize(imported)} from ${origin}`;
  printLine(told + aboutRam(machine.ram.size, sizeBefore));
  return 0;
}

/** What whoever mistyped a name, or a size, should know. */
function aboutRam(size: number, before: number | undefined): string {
  if (before === undefined) return ` into a new RAM of ${formatSize(size)}`;
  return size > before ? `; the RAM is enlarged to ${formatSize(size)}` : '';
}

interface Source {
  readonly stream: Readable;
  /** Bytes; undefined where nobody knows. */
  readonly size: number | undefined;
}

function openSource(from: string): Source {
  if (from === '-') return { stream: process.stdin, size: undefined };
  const stat = fs.statSync(from, { throwIfNoEntry: false });
  if (!stat)
    throw new KernelError('ENOENT', `there is no file '${from}': give a file, or - for standard input`);
  if (!stat.isFile())
    throw new KernelError('EINVAL', `'${from}' is no regular file: give one, or - for standard input`);
  const fd = fs.openSync(from, 'r');
  return { stream: fs.createReadStream(from, { fd, highWaterMark: CHUNK }), size: stat.size };
}

/**
 * Takes over the session that the file goes into, where there is one. All others go on as they
 * came.
 *
 * @throws KernelError EBUSY: two sessions have one name, as no handover can have them
 */
async function takeAlong({ luo }: Kernel, name: string): Promise<void> {
  const names = luo.incomingSessions.map((session) => session.name);
  const twice = names.find((each, i) => names.indexOf(each) !== i);
  if (twice !== undefined)
    throw new KernelError(
      'EBUSY',
      `its owner died with two sessions '${twice}', the older one not finished: start its program, which finishes that, and import after its next handover`,
    );
  if (!names.includes(name)) return;
  const retrieved = luo.retrieveSession(name);
  const session = luo.createSession(name);
  for (const { token } of retrieved.files) await session.preserve(await retrieved.retrieve(token), token);
  await retrieved.finish();
}

async function importInto(
  { luo, shmem }: Kernel,
  { session: name, token }: FileName,
  source: Source,
  huge: boolean,
  signal: AbortSignal,
): Promise<number> {
  const { pages } = shmem;
  const room = (pages.freePages + pages.freeScratchPages) * PAGE_SIZE;
  const noRoom = (what: string, cause?: unknown): KernelError =>
    new KernelError(
      'ENOMEM',
      `the file has ${what}, and ${formatSize(room)} of RAM are free for it and its records: import it into a larger RAM (export takes files out of this one)`,
      { cause },
    );
  if (source.size !== undefined && source.size > room) throw noRoom(formatSize(source.size));
  const there = luo.outgoingSessions.find((each) => each.name === name);
  const session = there ?? luo.createSession(name);
  if (session.files.some((file) => file.token === token))
    throw new KernelError('EEXIST', `session '${name}' has a file ${token} already: give another token`);
  const file = shmem.memfdCreate('import');
  try {
    if (huge) file.adviseHuge();
    const progress = source.size === undefined ? silent : await progressOnTerminal('import', source.size);
    try {
      await pipeline(source.stream, counting(progress), sparseWriter(file, huge), { signal });
    } finally {
      progress.stop();
    }
    await session.preserve(file, token);
    return file.size;
  } catch (error) {
    throw error instanceof KernelError && error.code === 'ENOMEM'
      ? noRoom('more bytes than fit', error)
      : error;
  } finally {
    file.close(); // the session has a reference of its own
  }
}
