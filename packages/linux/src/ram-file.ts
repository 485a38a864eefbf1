/**
 * The file behind a mapped RAM: how it is made, opened and checked before anyone trusts a byte of it.
 *
 * - A RAM file belongs to the user who runs the program and to nobody else: whoever may write it owns the program that boots from it.
 * - Its descriptor has a number from 64 up. Node's start-up sets close-on-exec on the low descriptors, from 0 on while they are
 *   contiguous, so a low one would not reach the generation after the next.
 */
import { codeOf, KernelError, PAGE_SIZE, Undo } from '@liveupdate/base';
import { checkRamSize } from '@liveupdate/mm';
import {
  addSeals,
  duplicateFrom,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  isReadWrite,
  memfdCreate,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_HUGETLB,
  setClosesOnExec,
} from './libc.ts';
import { fs } from './node-fs.ts';

/** The lowest number a RAM's descriptor gets. */
const LEAST_FD = 64;
/** Pages of the smallest RAM: page 0 is never handed out. */
const LEAST_PAGES = 2;
const GROUP_OR_OTHERS_WRITE = 0o022;
/** f_type of hugetlbfs (HUGETLBFS_MAGIC in linux/magic.h). */
const HUGETLBFS_MAGIC = 0x9584_58f6;

/** An open and checked file. */
export interface RamFile {
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  /** Bytes in the pages that the file system gives and takes: the huge page size for hugetlb memory, else that of the machine. */
  readonly granule: number;
}

/** Runs a call of node:fs and turns what it throws into a KernelError with the same code. */
export function callFs<T>(tried: string, call: () => T, advice = ''): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    throw new KernelError(codeOf(cause), `${tried}: ${advice || whyOf(cause)}`, { cause });
  }
}

/** What Node says about a failed call, without the code and the arguments, which we say ourselves. */
function whyOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  return /^[A-Z\d]+: (?<why>[^,]+), \w+/.exec(message)?.groups?.['why'] ?? message;
}

/** Creates the file `path` of `size` bytes, all holes. Errors: see MappedRam.create. */
export function createRamFile(path: string, size: number, mode: number): RamFile {
  checkRamSize(size, LEAST_PAGES);
  if ((mode & GROUP_OR_OTHERS_WRITE) !== 0 || (mode & 0o600) !== 0o600) {
    throw new KernelError(
      'EINVAL',
      `mode 0${mode.toString(8)}: a RAM file is read and written by its owner alone, such as 0600`,
    );
  }
  using undo = new Undo();
  const flags = fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_RDWR | fs.constants.O_NOFOLLOW;
  const low = callFs(`creating '${path}'`, () => fs.openSync(path, flags, mode));
  undo.add(() => {
    fs.unlinkSync(path);
  });
  const fd = moveUp(low);
  undo.add(() => {
    fs.closeSync(fd);
  });
  callFs(`giving '${path}' ${size} bytes`, () => {
    fs.ftruncateSync(fd, size);
  });
  const file = checkRamFile(fd, `'${path}'`);
  undo.keep();
  return file;
}

/** Opens the file `path`. Errors: see MappedRam.open. */
export function openRamFile(path: string): RamFile {
  using undo = new Undo();
  const flags =
    fs.constants.O_RDWR | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK | fs.constants.O_NOCTTY;
  const fd = moveUp(callFs(`opening '${path}'`, () => fs.openSync(path, flags)));
  undo.add(() => {
    fs.closeSync(fd);
  });
  const file = checkRamFile(fd, `'${path}'`);
  undo.keep();
  return file;
}

/** Creates a file without a name. Its size is sealed: nobody can cut it short under a mapping. Errors: see MappedRam.anonymous. */
export function createMemoryFile(name: string, size: number, hugetlb: boolean): RamFile {
  checkRamSize(size, LEAST_PAGES);
  using undo = new Undo();
  const fd = moveUp(memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | (hugetlb ? MFD_HUGETLB : 0)));
  undo.add(() => {
    fs.closeSync(fd);
  });
  callFs(
    `giving the memory file '${name}' ${size} bytes`,
    () => {
      fs.ftruncateSync(fd, size);
    },
    hugetlb ? 'hugetlb memory comes in whole huge pages; make the size a multiple of 2 MiB' : '',
  );
  addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  const file = checkRamFile(fd, `memory file '${name}'`);
  undo.keep();
  return file;
}

/** Checks the descriptor, and moves it up where its number is low. It stays open where the check fails. Errors: see MappedRam.fromFd. */
export function adoptRamFile(fd: number): RamFile {
  const file = checkRamFile(fd, `descriptor ${fd}`);
  if (fd >= LEAST_FD) {
    setClosesOnExec(fd, true);
    return file;
  }
  const high = duplicateFrom(fd, LEAST_FD);
  fs.closeSync(fd);
  return { ...file, fd: high };
}

/**
 * Another open file description on the same file, for mapping it. A mapping keeps its description, and that keeps its locks: the lock on a RAM is
 * on the descriptor that goes through exec, and must not outlive the owner with an old address space. Without /proc it is the same one.
 */
export function reopenRamFile(fd: number): number {
  try {
    return moveUp(callFs(`reopening descriptor ${fd}`, () => fs.openSync(`/proc/self/fd/${fd}`, 'r+')));
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    return duplicateFrom(fd, LEAST_FD);
  }
}

/** Gives a descriptor of ours a number from LEAST_FD up and close-on-exec; the one it had is closed, also where that fails. */
function moveUp(low: number): number {
  try {
    return duplicateFrom(low, LEAST_FD);
  } finally {
    fs.closeSync(low);
  }
}

function checkRamFile(fd: number, what: string): RamFile {
  const stat = callFs(`looking at ${what}`, () => fs.fstatSync(fd));
  const own = process.geteuid?.();
  if (!stat.isFile()) {
    throw new KernelError(
      'EINVAL',
      `${what} is not a regular file: give a file on tmpfs or hugetlbfs, or a memfd`,
    );
  }
  if (stat.uid !== own) {
    const whose = `belongs to user ${stat.uid}, this program runs as user ${own ?? '?'}`;
    throw new KernelError('EPERM', `${what} ${whose}: run it as the owner, or create a RAM of its own`);
  }
  // A file without a name (nlink 0) cannot be opened by others, and a memfd has mode 0777 from birth.
  if (stat.nlink > 0 && (stat.mode & GROUP_OR_OTHERS_WRITE) !== 0) {
    const mode = `0${(stat.mode & 0o777).toString(8)}`;
    throw new KernelError(
      'EACCES',
      `${what} has mode ${mode}, others may write it: if its content is to be trusted, chmod 600`,
    );
  }
  if (!isReadWrite(fd))
    throw new KernelError('EACCES', `${what} is not open for reading and writing: open it with O_RDWR`);
  if (stat.size < LEAST_PAGES * PAGE_SIZE || stat.size % PAGE_SIZE !== 0)
    throw new KernelError('EINVAL', `${what} has ${stat.size} bytes: it is no RAM; give another`);
  const system = callFs(`looking at the file system of ${what}`, () => fs.statfsSync(`/proc/self/fd/${fd}`));
  return { fd, size: stat.size, granule: system.type === HUGETLBFS_MAGIC ? system.bsize : PAGE_SIZE };
}
