/**
 * What execve(2) refuses, checked beforehand (kernel: fs/exec.c, fs/binfmt_elf.c): Node's `process.execve` ends the process when the
 * kernel says no, and with it everything that was only in memory.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { fs } from './node-fs.ts';
import { callFs } from './call-fs.ts';

/** Longest argument or NAME=value with its NUL: 32 pages (MAX_ARG_STRLEN). */
const MAX_STRING = 32 * PAGE_SIZE;
/** Strings and pointers together: a quarter of the stack limit, at least 128 KiB (ARG_MAX), at most three quarters of 8 MiB. */
const LEAST_TOTAL = 128 * 1024;
const MOST_TOTAL = 6 * 2 ** 20;
const POINTER = 8;

/**
 * Checks that the kernel will run `file` with these arguments and this environment.
 *
 * @throws KernelError ENOENT, ENOTDIR, EACCES, ELOOP: no such program, or not executable for us. EISDIR: a directory. EINVAL: neither an
 * ELF program nor a script, a NUL in a string, or no arguments at all. E2BIG: too long
 */
export function checkImage(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): void {
  const advice = 'give the path of an executable program; PATH is not searched';
  const stat = callFs(`replacing this process by '${file}'`, () => fs.statSync(file));
  if (stat.isDirectory()) throw new KernelError('EISDIR', `'${file}' is a directory: ${advice}`);
  if (!stat.isFile()) throw new KernelError('EACCES', `'${file}' is not a regular file: ${advice}`);
  callFs(`replacing this process by '${file}'`, () => {
    fs.accessSync(file, fs.constants.X_OK);
  });
  if (!looksExecutable(file))
    throw new KernelError('EINVAL', `'${file}' is neither an ELF program nor a script with #!: ${advice}`);
  if (args.length === 0)
    throw new KernelError('EINVAL', 'args is empty: its first element is the name of the program');
  checkStrings([...args, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)], file);
}

/** A program that may be run but not read counts as one. */
function looksExecutable(file: string): boolean {
  let fd: number;
  try {
    fd = fs.openSync(file, 'r');
  } catch {
    return true;
  }
  try {
    const head = Buffer.alloc(4);
    fs.readSync(fd, head, 0, 4, 0);
    return head.toString('latin1') === '\x7fELF' || head.toString('latin1', 0, 2) === '#!';
  } finally {
    fs.closeSync(fd);
  }
}

function checkStrings(strings: readonly string[], file: string): void {
  let total = Buffer.byteLength(file) + 1 + strings.length * POINTER;
  for (const text of strings) {
    const length = Buffer.byteLength(text) + 1;
    const start = text.slice(0, 40);
    if (text.includes('\0'))
      throw new KernelError('EINVAL', `'${start}' holds a NUL character, which ends a string for the kernel`);
    if (length > MAX_STRING) {
      throw new KernelError(
        'E2BIG',
        `'${start}...' has ${length} bytes, the kernel takes ${MAX_STRING}: pass it in RAM instead`,
      );
    }
    total += length;
  }
  const limit = Math.max(LEAST_TOTAL, Math.min(MOST_TOTAL, stackLimit() / 4));
  if (total > limit) {
    throw new KernelError(
      'E2BIG',
      `arguments and environment have ${total} bytes, the kernel takes ${limit}: pass less of them`,
    );
  }
}

/** Soft limit of the stack in bytes; Infinity where there is none. */
function stackLimit(): number {
  try {
    const soft = /^Max stack size\s+(\S+)/m.exec(fs.readFileSync('/proc/self/limits', 'latin1'))?.[1];
    return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft ?? LEAST_TOTAL);
  } catch {
    return LEAST_TOTAL; // no /proc: the least that every kernel takes
  }
}
