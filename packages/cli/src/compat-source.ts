/**
 * The two sides of `liveupdate compat`, from the words of a command line: a running kernel, the
 * image of one, a handover or a RAM, or a program.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { codeOf, formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { BOOT_PAGE_VERSION, FORMATS_VARIABLE, hasBootPage, type ProgramFormats } from '@liveupdate/kexec';
import { KHO_COMPATIBLE } from '@liveupdate/kho';
import { LUO_COMPATIBLE } from '@liveupdate/luo-core';
import { isElf } from '@liveupdate/memory-image';
import type { Format, Role, Side } from './compat-formats.ts';
import { formatsOf, isCompressed, isKernelImage, kernelIn, type KernelFormats } from './kernel-image.ts';
import { fromLeft, sessionsOf } from './left.ts';
import { openImage, resolveImagePath } from './open-image.ts';
import { reasonOf } from './preserved-file.ts';
import { readRunningKernel } from './running-kernel.ts';

/** In place of a file: the kernel that runs. */
const RUNNING = 'running';
/** A program has this long to get to where it opens its machine. */
const PATIENCE_MS = 60_000;
const HEAD_BYTES = 2 ** 16;
/** Bytes of the largest image of a kernel, with everything in it. */
const MOST_KERNEL = 2 ** 30;
const PROGRAM = /\.(?:[cm]?js|[cm]?ts)$/;

const formats = (role: Role, names: readonly string[]): Format[] => names.map((name) => ({ role, name }));

/** State that files share is called so by all that is known. */
const roleOf = (name: string): Role => (/(?:^|-)flb-/.test(name) ? 'state' : 'file');

/**
 * What one side writes and reads.
 *
 * @param words a word that names it, or the words that start a program
 * @throws KernelError ENOENT: there is none. EINVAL: it is nothing of all that, or damaged. EACCES,
 * EPERM: not allowed. ETIMEDOUT, EIO: a program that does not answer. Others as openImage has them.
 */
export async function sideOf(words: readonly string[]): Promise<Side> {
  const [word] = words;
  if (words.length > 1) return programSide(words);
  if (word === RUNNING) return runningSide();
  if (PROGRAM.test(word)) {
    fs.accessSync(word, fs.constants.R_OK);
    return programSide([process.execPath, ...process.execArgv, word]);
  }
  const path = resolveImagePath(word);
  const head = headOf(path);
  if (isKernelImage(head)) return imageSide(path);
  // A handover is compressed by gzip, where it is.
  const inner = gunzippedHead(head);
  if (isCompressed(head) && (inner.length === 0 || isKernelImage(inner))) return imageSide(path);
  try {
    return await memorySide(path);
  } catch (cause) {
    if (!(cause instanceof KernelError) || cause.code !== 'EINVAL' || isMemory(head)) throw cause;
    throw new KernelError(
      'EINVAL',
      `'${path}' is no kernel, no handover, no RAM and no program: see 'liveupdate compat --help'`,
      { cause },
    );
  }
}

/** The first bytes of what is compressed by gzip; of anything else, none. */
function gunzippedHead(head: Buffer): Buffer {
  try {
    return zlib.gunzipSync(head, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
  } catch {
    return Buffer.alloc(0);
  }
}

/** Whether these are the first bytes of a handover or of a RAM. */
function isMemory(head: Buffer): boolean {
  return head.length >= PAGE_SIZE && !isKernelImage(head) && (isElf(head) || hasBootPage(head));
}

function headOf(path: string): Buffer {
  if (!fs.statSync(path).isFile()) throw new KernelError('EINVAL', `'${path}' is no regular file: name one`);
  const fd = fs.openSync(path, 'r');
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    return head.subarray(0, fs.readSync(fd, head, 0, HEAD_BYTES, 0));
  } finally {
    fs.closeSync(fd);
  }
}

async function imageSide(path: string): Promise<Side> {
  const kernel = await kernelIn(readKernelFile(path), path);
  const found = formatsOf(kernel);
  if (found.release === undefined && found.kho.length === 0)
    throw new KernelError('EINVAL', `'${path}' is a program, but no Linux: name the image of a kernel`);
  return kernelSide(found, path, []);
}

/**
 * The bytes of a kernel's image. @throws KernelError EFBIG: no kernel is so large. EINVAL, ENOENT:
 * no file
 */
export function readKernelFile(path: string): Buffer {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new KernelError('ENOENT', `there is no kernel '${path}': name the image of one`);
  if (!stat.isFile())
    throw new KernelError('EINVAL', `'${path}' is no regular file: name the image of a kernel`);
  if (stat.size > MOST_KERNEL)
    throw new KernelError(
      'EFBIG',
      `'${path}' has ${formatSize(stat.size)}: no image of a kernel is so large`,
    );
  return fs.readFileSync(path);
}

async function runningSide(): Promise<Side> {
  const { formats: found, notes } = await readRunningKernel();
  return kernelSide(found, 'the running kernel', notes, os.release());
}

function kernelSide(
  { release, kho, luo, files, others }: KernelFormats,
  what: string,
  notes: readonly string[],
  running = release,
): Side {
  const all = [
    ...formats('handover', kho),
    ...formats('orchestrator', luo),
    ...files.map((name): Format => ({ role: roleOf(name), name })),
    ...formats('other', others),
  ];
  // A kernel without the handover itself hands nothing over, whatever else is in it.
  const known = kho.length === 0 ? [] : all;
  const named = `${what}${running === undefined ? '' : ` (Linux ${running})`}`;
  const modules = 'handlers that come in modules are not seen';
  return { what: named, kind: 'kernel', writes: known, reads: known, notes: [...notes, modules] };
}

/** A handover or a RAM: what is in it. */
async function memorySide(path: string): Promise<Side> {
  using image = await openImage(path);
  const { left, bootPage } = await fromLeft(image, (found) => ({
    left: found,
    bootPage: image.page ? [`boot-page-v${BOOT_PAGE_VERSION}`] : [],
  }));
  const files = new Set(sessionsOf(left).flatMap((session) => session.files.map((file) => file.compatible)));
  const flbs = left.luo?.flbs.map(({ name }) => name) ?? [];
  const writes = [
    ...formats('boot page', bootPage),
    ...formats('handover', [KHO_COMPATIBLE]), // others are not read here
    ...formats('orchestrator', left.luo ? [LUO_COMPATIBLE] : []),
    ...formats('file', [...files].sort()),
    ...formats('state', flbs),
  ];
  const damage = left.damage.map(reasonOf).at(0);
  const side: Side = { what: path, kind: 'memory', writes, reads: [], notes: [] };
  return damage === undefined ? side : { ...side, damage };
}

/** A program of ours is asked: it is started, and ends where it would open its machine. */
async function programSide(words: readonly string[]): Promise<Side> {
  const told = await ask(words);
  const own = [
    ...formats('boot page', [`boot-page-v${told.bootPage}`]),
    ...formats('handover', [told.kho]),
    ...formats('orchestrator', [told.luo]),
  ];
  const flbs = told.handlers.flatMap((handler) => formats('state', handler.flbs));
  const writes = formats(
    'file',
    told.handlers.map(({ compatible }) => compatible),
  );
  const also = formats(
    'file',
    told.handlers.flatMap(({ alsoReads }) => alsoReads),
  );
  const name = words.find((word) => PROGRAM.test(word)) ?? words.join(' ');
  return {
    what: name,
    kind: 'program',
    writes: [...own, ...writes, ...flbs],
    reads: [...own, ...writes, ...also, ...flbs],
    notes: [],
  };
}

async function ask([file, ...args]: readonly string[]): Promise<ProgramFormats> {
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'liveupdate-compat-'));
  const answer = join(folder, 'formats.json');
  try {
    const child = spawn(file, args, {
      env: { ...process.env, [FORMATS_VARIABLE]: answer },
      stdio: ['ignore', 'ignore', 'inherit'],
      detached: true, // what it starts ends with it
    });
    const end = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // all of them have ended
      }
    };
    const timer = setTimeout(end, PATIENCE_MS);
    let code: number | null;
    let signal: NodeJS.Signals | null;
    try {
      [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    } finally {
      clearTimeout(timer);
      end();
    }
    const name = [file, ...args].join(' ');
    if (fs.existsSync(answer)) return answerIn(answer, name);
    if (signal === 'SIGKILL')
      throw new KernelError('ETIMEDOUT', `'${name}' did not open a machine in ${PATIENCE_MS / 1000} s`);
    throw new KernelError(
      'EIO',
      `'${name}' ended with ${signal ?? `code ${code}`} and opened no machine: name the program that calls Machine.open, with a @liveupdate/kexec that answers`,
    );
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** What a program has told. @throws KernelError EIO: nothing that a @liveupdate/kexec tells */
function answerIn(path: string, name: string): ProgramFormats {
  try {
    const told = JSON.parse(fs.readFileSync(path, 'utf8')) as ProgramFormats;
    const isText = (value: unknown): boolean => typeof value === 'string';
    const isList = (value: unknown): boolean => Array.isArray(value) && value.every(isText);
    const isTold =
      isText(told.kho) &&
      isText(told.luo) &&
      typeof told.bootPage === 'number' &&
      told.handlers.every((each) => isText(each.compatible) && isList(each.alsoReads) && isList(each.flbs));
    if (isTold) return told;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError || codeOf(error) === 'EISDIR'))
      throw error;
  }
  throw new KernelError(
    'EIO',
    `'${name}' told nothing that can be understood: name a program that calls Machine.open of @liveupdate/kexec`,
  );
}
