/**
 * The system calls that Node does not offer.
 *
 * - Every wrapper takes and gives plain numbers (addresses: bigint) and throws KernelError with the
 *   code of errno.
 * - Numbers of flags are those of Linux on x86-64 and arm64, where they are equal; other machines
 *   are refused.
 */
import {
  bytesOf,
  checkFlag,
  checkOptions,
  checkText,
  checkWhole,
  KernelError,
  type Bytes,
} from '@liveupdate/base';
import { checkFd } from './inputs.ts';
import { fs } from './node-fs.ts';
import { c, failed, lastError, MAP_FAILED, native, type Address } from './native.ts';

export type { Address } from './native.ts';

/** Numbers of C. */
const INT = { max: 0x7fff_ffff };
const U32 = { max: 0xffff_ffff };
const S16 = { max: 0x7fff };

export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_READ_WRITE = 3;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MADV_DONTNEED = 4;
export const MADV_HUGEPAGE = 14;
/** Both since Linux 5.14. */
export const MADV_POPULATE_READ = 22;
export const MADV_POPULATE_WRITE = 23;
export const MADV_COLLAPSE = 25;
export const FALLOC_KEEP_SIZE = 1;
export const FALLOC_PUNCH_HOLE = 2;
export const MFD_CLOEXEC = 1;
export const MFD_ALLOW_SEALING = 2;
export const MFD_HUGETLB = 4;
export const F_SEAL_SEAL = 1;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;
export const F_SEAL_WRITE = 8;

const SIGPROF = 27;
/** struct sigaction of glibc and musl: the handler's address first. */
const SIGACTION_SIZE = 152;
const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_DUPFD_CLOEXEC = 1030;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const FD_CLOEXEC = 1;
const O_ACCMODE = 3;
const O_RDWR = 2;
const F_WRLCK = 1;
const F_UNLCK = 2;
const O_CLOEXEC = 0o2000000;
/** Faults of the kernel itself are none of our business: with this, no privilege is needed. */
const UFFD_USER_MODE_ONLY = 1;
/** System calls that libc has no function for, or not in every version. */
const SYS_USERFAULTFD = { x64: 323, arm64: 282 } as const;
const SYS_GETTID = { x64: 186, arm64: 178 } as const;
const SYS_KEXEC_FILE_LOAD = { x64: 320, arm64: 294 } as const;
/** Equal on both. */
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const KEXEC_FILE_UNLOAD = 1;
const KEXEC_FILE_NO_INITRAMFS = 4;
const KEXEC_FILE_DEBUG = 8;
const LINUX_REBOOT_CMD_KEXEC = 0x4558_4543;
const NO_FD = -1;
/**
 * Counts also while the host sleeps; what /proc tells as the start of a process is on this clock.
 */
const CLOCK_BOOTTIME = 7;
const WNOHANG = 1;
/** Children whose end sends another signal than SIGCHLD too. */
const WAIT_ALL = 0x4000_0000;
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * mmap(2). `address` null lets the kernel choose.
 *
 * @throws KernelError ENOMEM: no address space, or more mappings than vm.max_map_count. EACCES: not
 * opened for reading and writing. EBADF, EINVAL, ENODEV, EPERM: as mmap(2) has them.
 */
export function mmap(
  address: Address | null,
  length: number,
  protection: number,
  flags: number,
  fd: number,
  at: number,
): Address {
  const where = c('mmap')(address, length, protection, flags, fd, at);
  if (where === null || where === MAP_FAILED) {
    throw failed(`mapping ${length} bytes of descriptor ${fd} at ${at}`, {
      ENOMEM:
        'no address space is left, or the process has vm.max_map_count mappings; raise that with sysctl, or map fewer pieces',
      EACCES: 'open the file for reading and writing',
      EBADF: 'the descriptor is not open',
    });
  }
  return where;
}

/**
 * munmap(2). No JavaScript view may lie in the range: touching one afterwards would end the
 * process.
 *
 * @throws KernelError EINVAL: not a page-aligned range
 */
export function munmap(address: Address, length: number): void {
  if (c('munmap')(address, length) !== 0) throw failed(`unmapping ${length} bytes`);
}

/**
 * madvise(2); goes on after a signal.
 *
 * @throws KernelError EINVAL: advice this kernel or memory does not know. EFAULT:
 * MADV_POPULATE_READ or _WRITE where the file system is full. ENOMEM: no memory, or the range is
 * not mapped.
 */
export function madvise(address: Address, length: number, advice: number): void {
  while (c('madvise')(address, length, advice) !== 0) {
    if (lastError() !== 'EINTR') throw failed(`madvise(${advice}) on ${length} bytes`);
  }
}

/**
 * execve(2): this process goes on as another program, and the call returns only where it is
 * refused. Nothing has changed then. No string may hold a NUL.
 *
 * @param env as NAME=value
 * @returns why it was refused, as errno has it; most of them are told in `replaceProcess`
 */
export function execve(file: string, args: readonly string[], env: readonly string[]): KernelError {
  const restore = ignoreProfiler();
  c('execve')(file, [...args, null], [...env, null]);
  const error = failed(`replacing this process by '${file}'`, {
    E2BIG: 'arguments and environment are longer than the kernel takes: pass less, or pass it in RAM',
    EACCES: 'it is no regular file, not executable for us, or on a file system that is mounted noexec',
    EAGAIN: 'the user has more processes than RLIMIT_NPROC allows',
    ELIBBAD: 'its loader is no program for this machine',
    ELOOP: 'too many symbolic links, or scripts that are run by scripts',
    ENOENT:
      'there is no such file, or the interpreter in its first line, or the loader that it names, does not exist; PATH is not searched',
    ENOEXEC: 'it is no program for this machine',
    ETXTBSY: 'it is open for writing: let whoever writes it finish, and put it in place by a rename',
  });
  restore();
  return error;
}

/**
 * A profiler interrupts this thread by a signal, thousands of times a second. One that comes as
 * exec begins would end the new program, which has no profiler yet: none may be on its way then.
 *
 * @returns has it go on
 */
function ignoreProfiler(): () => void {
  const handled = new Uint8Array(SIGACTION_SIZE);
  c('sigaction')(SIGPROF, null, handled);
  const isHandled = handled.subarray(0, 8).some((byte) => byte !== 0);
  if (!isHandled) return () => undefined;
  const ignored = new Uint8Array(SIGACTION_SIZE);
  ignored[0] = 1; // SIG_IGN
  c('sigaction')(SIGPROF, ignored, null);
  return () => {
    c('sigaction')(SIGPROF, handled, null);
  };
}

/** Whether the thread that calls is the one that the process began with. */
export function isMainThread(): boolean {
  native();
  return c('syscall')(SYS_GETTID[process.arch as keyof typeof SYS_GETTID], 'int', 0) === process.pid;
}

/** Nanoseconds since the host booted, time asleep included. */
export function bootTimeNow(): bigint {
  const time = new BigInt64Array(2); // struct timespec: seconds, nanoseconds
  if (c('clock_gettime')(CLOCK_BOOTTIME, time) !== 0) throw failed('reading the time since boot');
  return time[0] * 1_000_000_000n + time[1];
}

/** Whether a child process has ended, or is no child of ours; it is collected. */
export function hasEnded(pid: number): boolean {
  return c('waitpid')(pid, null, WNOHANG | WAIT_ALL) !== 0;
}

/**
 * What waitpid(2) says of a child process that has ended, which is collected; undefined while it
 * runs, null where it is no child of ours, or was collected.
 */
export function statusOfEnded(pid: number): number | null | undefined {
  const status = new Int32Array(1);
  const ended = c('waitpid')(pid, status, WNOHANG | WAIT_ALL);
  if (ended < 0) return null;
  return ended === 0 ? undefined : status[0];
}

/**
 * An ArrayBuffer over memory of this process, without a copy. It holds nothing: the memory must
 * outlive it, or it be detached before.
 */
export function viewOf(address: Address, length: number): ArrayBuffer {
  return native().koffi.view(address, length);
}

/**
 * fallocate(2); goes on after a signal.
 *
 * @throws KernelError ENOSPC: the file system is full. EOPNOTSUPP: it cannot do this. EPERM:
 * sealed. EBADF: not open for writing. EFBIG, EINVAL, ENOMEM: as fallocate(2) has them.
 */
export function fallocate(fd: number, mode: number, at: number, length: number): void {
  while (c('fallocate')(fd, mode, at, length) !== 0) {
    if (lastError() !== 'EINTR') {
      throw failed(`fallocate(${mode}) of ${length} bytes at ${at}`, {
        ENOSPC: 'the file system is full; free some of it, or mount it with a larger size',
        ENOMEM: 'the machine or its memory group is out of memory',
        EOPNOTSUPP: 'this file system cannot; use a file on tmpfs, such as one in /dev/shm',
      });
    }
  }
}

/**
 * memfd_create(2).
 *
 * @throws KernelError EINVAL: name longer than 249 bytes, or unknown flags. EMFILE, ENFILE: too
 * many open files. ENOMEM: no memory. ENODEV: hugetlb asked of a kernel without it.
 */
export function memfdCreate(name: string, flags: number): number {
  checkText(name, 'a name of a memory file');
  checkWhole(flags, 'flags of a memory file', U32);
  if (name.includes('\0')) throw new KernelError('EINVAL', 'the name of a memory file holds a NUL character');
  const fd = c('memfd_create')(name, flags);
  if (fd < 0) throw failed(`creating the memory file '${name}'`, { EINVAL: 'its name may have 249 bytes' });
  return fd;
}

/**
 * A duplicate of `fd` with the lowest free number from `least` on, closed on exec.
 *
 * @throws KernelError EBADF: not open. EINVAL: no numbers of descriptors. EMFILE: no number is
 * free, or `least` is above the limit of open files.
 */
export function duplicateFrom(fd: number, least: number): number {
  checkFd(fd);
  checkFd(least);
  const copy = c('fcntl')(fd, F_DUPFD_CLOEXEC, 'int', least);
  if (copy < 0) {
    const tried = `duplicating descriptor ${fd} to ${least} or above`;
    // Linux says EINVAL where the number is above the limit: for the caller it is one thing.
    if (lastError() === 'EINVAL')
      throw new KernelError('EMFILE', `${tried} failed: raise the limit of open files (ulimit -n)`);
    throw failed(tried, { EMFILE: 'raise the limit of open files (ulimit -n)' });
  }
  return copy;
}

/**
 * A duplicate of the descriptor of another process, closed on exec (pidfd_getfd(2)).
 *
 * @throws KernelError EPERM: not allowed to trace that process. ENOENT: there is none (kernel:
 * ESRCH). EBADF: it has no such descriptor. EINVAL: no process ID, no number of a descriptor.
 * ENOSYS: a kernel before 5.6. EMFILE, ENFILE: too many open files.
 */
export function duplicateOfProcess(pid: number, fd: number): number {
  checkWhole(pid, 'a process ID', { ...INT, min: 1 });
  checkFd(fd);
  native();
  const tried = `duplicating descriptor ${fd} of process ${pid}`;
  const advice = { EPERM: 'it takes root', EBADF: 'the process has no such descriptor' };
  const process = c('syscall')(SYS_PIDFD_OPEN, 'int', pid, 'unsigned int', 0);
  if (process < 0) {
    const error = failed(tried, advice);
    if (error.code !== 'EIO') throw error;
    throw new KernelError('ENOENT', `${tried}: there is no such process`, { cause: error });
  }
  const copy = c('syscall')(SYS_PIDFD_GETFD, 'int', process, 'int', fd, 'unsigned int', 0);
  const error = copy < 0 ? failed(tried, advice) : undefined;
  fs.closeSync(process);
  if (error) throw error;
  return copy;
}

/**
 * Whether a descriptor is open in this process.
 *
 * @throws KernelError EINVAL: no number of a descriptor
 */
export function isOpen(fd: number): boolean {
  checkFd(fd);
  return c('fcntl')(fd, F_GETFD) >= 0;
}

/**
 * Whether exec closes the descriptor.
 *
 * @throws KernelError EBADF: not open
 */
export function closesOnExec(fd: number): boolean {
  checkFd(fd);
  const flags = c('fcntl')(fd, F_GETFD);
  if (flags < 0) throw failed(`reading the flags of descriptor ${fd}`);
  return (flags & FD_CLOEXEC) !== 0;
}

/**
 * Says whether exec shall close the descriptor.
 *
 * @throws KernelError EBADF: not open. EINVAL: no number of a descriptor, or neither true nor false
 */
export function setClosesOnExec(fd: number, closes: boolean): void {
  checkFd(fd);
  checkFlag(closes, 'whether exec closes a descriptor');
  if (c('fcntl')(fd, F_SETFD, 'int', closes ? FD_CLOEXEC : 0) < 0)
    throw failed(`setting the flags of descriptor ${fd}`);
}

/**
 * Whether the descriptor was opened for reading and writing.
 *
 * @throws KernelError EBADF: not open
 */
export function isReadWrite(fd: number): boolean {
  const flags = c('fcntl')(fd, F_GETFL);
  if (flags < 0) throw failed(`reading the mode of descriptor ${fd}`);
  return (flags & O_ACCMODE) === O_RDWR;
}

/**
 * struct flock of 64-bit Linux: type s16 at 0, whence s16 at 2, start s64 at 8, length s64 at 16,
 * pid s32 at 24 (0 for OFD locks).
 */
function flock(type: number, at: number): Uint8Array {
  const bytes = new Uint8Array(32);
  const fields = new DataView(bytes.buffer);
  fields.setInt16(0, type, true);
  fields.setBigInt64(8, BigInt(at), true);
  fields.setBigInt64(16, 1n, true);
  return bytes;
}

/**
 * Takes the OFD write lock on the byte `at` for the open file description behind `fd`; false where
 * another one has it.
 *
 * @throws KernelError EBADF: not open for writing. ENOMEM (kernel: ENOLCK comes as EIO): no memory
 * for locks.
 */
export function lockByte(fd: number, at: number): boolean {
  if (c('fcntl')(fd, F_OFD_SETLK, 'void *', flock(F_WRLCK, at)) === 0) return true;
  const code = lastError();
  if (code === 'EAGAIN' || code === 'EACCES') return false;
  throw failed(`locking byte ${at} of descriptor ${fd}`, { EBADF: 'it must be open for writing' });
}

/**
 * Lets go of the OFD lock on the byte `at`.
 *
 * @throws KernelError EBADF: not open
 */
export function unlockByte(fd: number, at: number): void {
  if (c('fcntl')(fd, F_OFD_SETLK, 'void *', flock(F_UNLCK, at)) !== 0)
    throw failed(`unlocking descriptor ${fd}`);
}

/**
 * Whether another open file description has a lock on the byte `at`.
 *
 * @throws KernelError EBADF: not open
 */
export function isByteLocked(fd: number, at: number): boolean {
  const lock = flock(F_WRLCK, at);
  if (c('fcntl')(fd, F_OFD_GETLK, 'void *', lock) !== 0)
    throw failed(`reading the locks of descriptor ${fd}`);
  return new DataView(lock.buffer).getInt16(0, true) !== F_UNLCK;
}

/**
 * Adds file seals (memfd only).
 *
 * @throws KernelError EPERM: sealed against further seals. EBUSY: F_SEAL_WRITE with a shared
 * writable mapping. EINVAL: no memfd.
 */
export function addSeals(fd: number, seals: number): void {
  if (c('fcntl')(fd, F_ADD_SEALS, 'int', seals) < 0) throw failed(`sealing descriptor ${fd}`);
}

/** The file seals of a memfd, or undefined where the file cannot have any. */
export function getSeals(fd: number): number | undefined {
  const seals = c('fcntl')(fd, F_GET_SEALS);
  return seals < 0 ? undefined : seals;
}

/**
 * lseek(2). Returns the new position.
 *
 * @throws KernelError ENXIO: no data or hole from there on. EBADF: not open. ESPIPE: no file.
 * EINVAL: no such position, or the file system does not know where its data is.
 */
export function lseek(fd: number, at: number, whence: number): number {
  const position = c('lseek')(fd, at, whence);
  if (position < 0) throw failed(`seeking in descriptor ${fd} (${whence}) to ${at}`);
  return position;
}

/**
 * Offset of the first data (or hole) at or after `from`; undefined where there is none before the
 * end. Moves the file position.
 *
 * @throws KernelError EBADF: not open. ESPIPE: no file. EINVAL: the file system does not know.
 */
export function seekTo(what: 'data' | 'hole', fd: number, from: number): number | undefined {
  try {
    return lseek(fd, from, what === 'data' ? SEEK_DATA : SEEK_HOLE);
  } catch (error) {
    if (error instanceof KernelError && error.code === 'ENXIO') return undefined;
    throw error;
  }
}

/**
 * Gives an open file a name (linkat(2)); one that was made without any (O_TMPFILE) appears under it
 * at once.
 *
 * @throws KernelError EEXIST: something is there already. ENOENT: no such directory, or the file's
 * last name was removed. EACCES, EROFS, ENOSPC, ENOTDIR, EXDEV, EPERM: as linkat(2) has them.
 */
export function linkFile(fd: number, path: string): void {
  if (c('linkat')(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW) !== 0)
    throw failed(`giving descriptor ${fd} the name '${path}'`, { EEXIST: 'it is taken' });
}

/** Bytes in a page of this machine. */
export function pageSize(): number {
  return c('getpagesize')();
}

/**
 * ioctl(2) with a structure at `argument`; goes on after a signal.
 *
 * @throws KernelError ENOTTY, EINVAL: this descriptor or kernel does not know the request. EBADF,
 * EFAULT, others: as the request has them.
 */
export function ioctl(fd: number, request: number, argument: Address | Uint8Array): number {
  for (;;) {
    const result = c('ioctl')(fd, request, 'void *', argument);
    if (result >= 0) return result;
    if (lastError() !== 'EINTR') throw failed(`ioctl 0x${request.toString(16)} on descriptor ${fd}`);
  }
}

/**
 * ioctl(2) with a structure in `argument`, which the kernel reads and may write; goes on after a
 * signal. What lies behind its last byte is memory of this process too: a structure that says a
 * larger size than it has is read beyond it.
 *
 * @returns what the kernel returns, mostly 0
 * @throws KernelError EINVAL: no number of a descriptor, no request, or nothing that has bytes.
 * EBADF: not open. ENOTTY, EINVAL: this descriptor or kernel does not know the request. Others: as
 * the request has them.
 */
export function ioctlBytes(fd: number, request: number, argument: Bytes): number {
  checkFd(fd);
  checkWhole(request, 'a request', U32);
  return ioctl(fd, request, bytesOf(argument));
}

/** A kernel that `loadKexecKernel` reads. */
export interface KexecKernel {
  /** A descriptor of the kernel's image, open for reading. */
  readonly kernel: number;
  /** A descriptor of its initial RAM disk; none unless given. */
  readonly initrd?: number;
  /** Its command line. */
  readonly commandLine: string;
  /**
   * Whether the log of the running kernel (dmesg) says where in memory it is put: Linux 6.8 and
   * newer. Default false.
   */
  readonly debug?: boolean;
}

/**
 * Reads the kernel that a reboot by kexec starts (kexec_file_load(2)). One that was loaded before
 * is dropped.
 *
 * @throws KernelError EPERM: not allowed (CAP_SYS_BOOT), or kernel.kexec_load_disabled is 1.
 * ENOEXEC: no image of a kernel for this machine. EBADF: not open, or no file that can be read.
 * EINVAL: no number of a descriptor, no text, a NUL in it, a command line that is too long, or no
 * memory where this kernel could lie. EBUSY: another is being loaded. ENOSYS: a kernel without
 * CONFIG_KEXEC_FILE. ENOMEM. EIO: its signature is refused, or the file cannot be read.
 */
export function loadKexecKernel(next: KexecKernel): void {
  checkOptions(next, 'a kernel', ['kernel', 'initrd', 'commandLine', 'debug']);
  const { kernel, initrd, commandLine, debug = false } = next;
  checkFlag(debug, 'debug');
  checkFd(kernel);
  if (initrd !== undefined) checkFd(initrd);
  checkText(commandLine, 'a command line');
  if (commandLine.includes('\0')) throw new KernelError('EINVAL', 'the command line holds a NUL character');
  const line = Buffer.from(`${commandLine}\0`);
  const flags = (initrd === undefined ? KEXEC_FILE_NO_INITRAMFS : 0) | (debug ? KEXEC_FILE_DEBUG : 0);
  kexecFileLoad('loading a kernel', kernel, initrd ?? NO_FD, line, flags);
}

/**
 * Drops the kernel that was loaded for a reboot by kexec, if there is one.
 *
 * @throws KernelError EPERM, EBUSY, ENOSYS: as loadKexecKernel
 */
export function unloadKexecKernel(): void {
  kexecFileLoad('unloading a kernel', NO_FD, NO_FD, new Uint8Array(1), KEXEC_FILE_UNLOAD);
}

function kexecFileLoad(
  tried: string,
  kernel: number,
  initrd: number,
  commandLine: Uint8Array,
  flags: number,
): void {
  native();
  const number = SYS_KEXEC_FILE_LOAD[process.arch as keyof typeof SYS_KEXEC_FILE_LOAD];
  const line = ['unsigned long', commandLine.length, 'void *', commandLine] as const;
  if (c('syscall')(number, 'int', kernel, 'int', initrd, ...line, 'unsigned long', flags) !== 0)
    throw failed(tried, KEXEC_ADVICE);
}

const KEXEC_ADVICE = {
  EPERM: 'it takes root (CAP_SYS_BOOT), and sysctl kernel.kexec_load_disabled must be 0',
  ENOEXEC: 'it is no image of a kernel for this machine: name a bzImage (a vmlinuz) or an Image',
  EBADF: 'a descriptor is not open, or is no file that can be read',
  EINVAL: 'no kernel is loaded, or the command line is too long, or no memory fits this kernel',
  EBUSY: 'another kernel is being loaded, or what is preserved could not be frozen: try again',
  ENOSYS: 'this kernel has no kexec: CONFIG_KEXEC_FILE must be on',
} as const;

/**
 * Replaces the running kernel by the one that was loaded, at once (reboot(2) with
 * LINUX_REBOOT_CMD_KEXEC): no program of the machine is asked to end. File systems are written out
 * first. It does not return; when it throws, all goes on.
 *
 * @throws KernelError EPERM: not allowed (CAP_SYS_BOOT). EINVAL: no kernel is loaded. EBUSY:
 * another kernel is being loaded. ENOSYS: a kernel without kexec. What a freeze of preserved files
 * fails with.
 */
export function rebootByKexec(): never {
  c('sync')();
  c('reboot')(LINUX_REBOOT_CMD_KEXEC);
  throw failed('replacing the kernel', {
    ...KEXEC_ADVICE,
    EINVAL: 'no kernel is loaded: load one first',
    EPERM: 'it takes root (CAP_SYS_BOOT)',
  });
}

/**
 * userfaultfd(2) for faults of this process itself, close-on-exec.
 *
 * @throws KernelError ENOSYS: not in this kernel. EPERM: forbidden here. EINVAL: a kernel before
 * 5.11. EMFILE, ENFILE: too many open files.
 */
export function userfaultfd(): number {
  native();
  const number = SYS_USERFAULTFD[process.arch as keyof typeof SYS_USERFAULTFD]; // native() refuses every other
  const fd = c('syscall')(number, 'int', UFFD_USER_MODE_ONLY | O_CLOEXEC);
  if (fd < 0) throw failed('opening a userfaultfd');
  return fd;
}

/**
 * eventfd(2).
 *
 * @param initial a u32
 * @throws KernelError EINVAL: no u32, or unknown flags. EMFILE, ENFILE: too many open files.
 * ENOMEM.
 */
export function eventfd(initial: number, flags: number): number {
  checkWhole(initial, 'the count of an eventfd', U32);
  checkWhole(flags, 'flags of an eventfd', INT);
  const fd = c('eventfd')(initial, flags);
  if (fd < 0) throw failed(`creating an eventfd with flags 0x${flags.toString(16)}`);
  return fd;
}

/**
 * What of `events` a descriptor is ready for now, with POLLERR, POLLHUP and POLLNVAL where they are
 * so (poll(2), without waiting).
 *
 * @throws KernelError EINTR, ENOMEM: as poll(2) has them. EINVAL: no number of a descriptor, or no
 * s16
 */
export function pollNow(fd: number, events: number): number {
  checkFd(fd);
  checkWhole(events, 'events to poll for', S16);
  const entry = new DataView(new ArrayBuffer(8)); // struct pollfd: fd s32 at 0, events s16 at 4, revents s16 at 6
  entry.setInt32(0, fd, true);
  entry.setInt16(4, events, true);
  if (c('poll')(new Uint8Array(entry.buffer), 1, 0) < 0) throw failed(`polling descriptor ${fd}`);
  return entry.getInt16(6, true);
}
