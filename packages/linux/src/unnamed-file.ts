/**
 * A file that gets its name when it is finished, in one step and over nothing that is there.
 *
 * Where the file system can, it has no name before (O_TMPFILE): it ends with its maker. Elsewhere
 * (hugetlbfs of older kernels) it has a temporary one beside, which its maker holds a lock on;
 * whoever makes the next one there removes those whose makers died.
 */
import { basename, dirname, join, resolve } from 'node:path';
import { codeOf, Undo, type ErrnoCode } from '@liveupdate/base';
import { callFs } from './call-fs.ts';
import { linkFile, lockByte, unlockByte } from './libc.ts';
import { fs } from './node-fs.ts';

/** Behind the owner's byte (see locks.ts): a maker is not yet an owner. */
const MAKER_BYTE = 1;
/** `__O_TMPFILE` of Linux on x86-64 and arm64; O_TMPFILE has O_DIRECTORY in it. */
const O_TMPFILE = 0o20000000 | fs.constants.O_DIRECTORY;
/** What open(2) says where the file system, or the kernel, has no O_TMPFILE. */
const HAS_NONE: readonly ErrnoCode[] = ['EOPNOTSUPP', 'EISDIR', 'EINVAL'];
const TEMPORARY = '.making';

export class UnnamedFile {
  readonly fd: number;
  readonly #path: string;
  #temporary: string | undefined;

  private constructor(fd: number, path: string, temporary?: string) {
    this.fd = fd;
    this.#path = path;
    this.#temporary = temporary;
  }

  /**
   * Makes an empty file in the directory of `path`.
   *
   * @param open opens a file without a name there; for tests
   * @throws KernelError ENOENT, ENOTDIR, EACCES, EROFS, ENOSPC, EMFILE: the directory is missing,
   * not ours to write, or full, or too many files are open
   */
  static make(path: string, mode: number, open = openUnnamed): UnnamedFile {
    const whole = resolve(path); // the working directory may change until it is linked
    return callFs(`creating '${path}'`, () => {
      try {
        return new UnnamedFile(open(dirname(whole), mode), whole);
      } catch (error) {
        if (!HAS_NONE.includes(codeOf(error))) throw error;
      }
      removeStale(whole);
      for (;;) {
        const made = tryTemporary(whole, mode);
        if (made) return new UnnamedFile(made.fd, whole, made.name);
      }
    });
  }

  /**
   * Gives it its name.
   *
   * @param fd the file, where its descriptor has another number by now
   * @throws KernelError EEXIST: there is something. Others as `make`; the file is as before.
   */
  link(fd = this.fd): void {
    const temporary = this.#temporary;
    if (temporary === undefined) {
      linkFile(fd, this.#path);
      return;
    }
    callFs(`giving a file the name '${this.#path}'`, () => {
      fs.linkSync(temporary, this.#path);
    });
    this.discard();
    unlockByte(fd, MAKER_BYTE);
  }

  /** Removes what it was called until it got its name. The descriptor stays open. */
  discard(): void {
    if (this.#temporary !== undefined) fs.rmSync(this.#temporary, { force: true });
    this.#temporary = undefined;
  }
}

function openUnnamed(directory: string, mode: number): number {
  return fs.openSync(directory, O_TMPFILE | fs.constants.O_RDWR, mode);
}

/** What all temporary names for this path begin with. */
function prefixOf(path: string): string {
  return `.${basename(path)}.`;
}

/**
 * A file under a temporary name, with the maker's lock; undefined where somebody took it for a
 * stale one just now.
 */
function tryTemporary(path: string, mode: number): { fd: number; name: string } | undefined {
  const unique = `${process.pid}-${Math.random().toString(36).slice(2)}`;
  const name = join(dirname(path), prefixOf(path) + unique + TEMPORARY);
  const { O_CREAT, O_EXCL, O_RDWR, O_NOFOLLOW } = fs.constants;
  using undo = new Undo();
  const fd = fs.openSync(name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, mode);
  undo.add(() => {
    fs.closeSync(fd);
  });
  undo.add(() => {
    fs.rmSync(name, { force: true });
  });
  if (!lockByte(fd, MAKER_BYTE) || fs.fstatSync(fd).nlink === 0) return undefined;
  undo.keep();
  return { fd, name };
}

/**
 * Removes temporary files for this path whose makers died. What cannot be looked at is left alone.
 */
function removeStale(path: string): void {
  const directory = dirname(path);
  const { O_RDWR, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  for (const name of fs.readdirSync(directory)) {
    if (!name.startsWith(prefixOf(path)) || !name.endsWith(TEMPORARY)) continue;
    const stale = join(directory, name);
    let fd: number;
    try {
      fd = fs.openSync(stale, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    } catch {
      continue;
    }
    try {
      if (fs.fstatSync(fd).isFile() && lockByte(fd, MAKER_BYTE)) fs.rmSync(stale, { force: true });
    } finally {
      fs.closeSync(fd);
    }
  }
}
