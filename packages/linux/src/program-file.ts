/**
 * The one refusal of exec that comes too late: an ELF file whose segments reach past its end
 * (kernel: fs/binfmt_elf.c). Linux maps such a program, and kills it when the old one is gone
 * already. A program that is still being copied, or was when the disk was full, is one.
 *
 * Everything else that the kernel refuses it refuses in time, and execve says so. So whatever
 * cannot be read or understood here is left to it.
 */
import { KernelError } from '@liveupdate/base';
import { fs } from './node-fs.ts';

/** Scripts that are run by scripts: Linux follows fewer, and then says ELOOP. */
const MOST_SCRIPTS = 8;
/** What Linux reads of a file to find out what it is (BINPRM_BUF_SIZE). */
const HEAD = 256;
const PT_LOAD = 1;
const PT_INTERP = 3;
/** Program headers that are looked at: Linux takes no more than 64 KiB of them. */
const MOST_HEADERS = 0x10000;
/** Bytes of a path, with its NUL (PATH_MAX). */
const MOST_PATH = 4096;

/** Where things stand in an ELF file of 32 or 64 bits: its header, and one program header. */
const LAYOUTS = {
  1: { word: 4, phoff: 28, phentsize: 42, phnum: 44, entry: 32, offset: 4, filesz: 16 },
  2: { word: 8, phoff: 32, phentsize: 54, phnum: 56, entry: 56, offset: 8, filesz: 32 },
} as const;

/**
 * Checks that what would run `file` is there to its last byte: the program itself, the interpreter
 * of a script, and the loader that an ELF program names.
 *
 * @throws KernelError ENOEXEC: one of them is cut short
 */
export function checkWholeProgram(file: string): void {
  let program: string | undefined = file;
  for (let depth = 0; program !== undefined && depth < MOST_SCRIPTS; depth++) {
    program = lookInto(program, (head, fd, path) => interpreterOf(head) ?? loaderOf(head, fd, path));
  }
}

/** What `look` finds in a file that can be read; undefined for any other. */
function lookInto(
  path: string,
  look: (head: Buffer, fd: number, path: string) => string | undefined,
): string | undefined {
  let fd: number;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    if (!fs.fstatSync(fd).isFile()) return undefined;
    return look(read(fd, 0, HEAD), fd, path);
  } finally {
    fs.closeSync(fd);
  }
}

/** Up to `length` bytes; fewer where the file ends, none where no file could have any. */
function read(fd: number, at: number, length: number): Buffer {
  if (!Number.isSafeInteger(at)) return Buffer.alloc(0);
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, fs.readSync(fd, bytes, 0, length, at));
}

/** The program that a script names in its first line. */
function interpreterOf(head: Buffer): string | undefined {
  return /^#![ \t]*(?<path>[^ \t\n\0]+)/.exec(head.toString('utf8'))?.groups?.['path'];
}

/** Checks an ELF file. @returns the loader that it names */
function loaderOf(head: Buffer, fd: number, path: string): string | undefined {
  const LITTLE_ENDIAN = 1;
  if (head.length < 64 || head.toString('latin1', 0, 4) !== '\x7fELF' || head[5] !== LITTLE_ENDIAN)
    return undefined;
  const at = LAYOUTS[head[4] as keyof typeof LAYOUTS] as (typeof LAYOUTS)[1 | 2] | undefined;
  if (!at || head.readUInt16LE(at.phentsize) !== at.entry) return undefined;
  const size = fs.fstatSync(fd).size;
  const length = Math.min(head.readUInt16LE(at.phnum) * at.entry, MOST_HEADERS);
  const headers = read(fd, wordAt(head, at.phoff, at.word), length);
  let loader: string | undefined;
  for (let start = 0; start + at.entry <= headers.length; start += at.entry) {
    const header = headers.subarray(start, start + at.entry);
    const type = header.readUInt32LE(0);
    const offset = wordAt(header, at.offset, at.word);
    const bytes = wordAt(header, at.filesz, at.word);
    if (type === PT_LOAD && bytes > 0 && offset + bytes > size) {
      const why = `'${path}' ends at byte ${size} and should have ${offset + bytes}`;
      throw new KernelError('ENOEXEC', `${why}: it is cut short, or still being written; copy it again`);
    }
    if (type === PT_INTERP && bytes > 1 && bytes <= MOST_PATH)
      loader = read(fd, offset, bytes - 1)
        .toString('utf8')
        .split('\0', 1)[0];
  }
  return loader;
}

function wordAt(bytes: Buffer, at: number, size: number): number {
  return size === 4 ? bytes.readUInt32LE(at) : Number(bytes.readBigUInt64LE(at));
}
