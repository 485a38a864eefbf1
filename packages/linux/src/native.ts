/**
 * C functions of this process through koffi: the only native code of liveupdate, and the only file
 * that knows it.
 *
 * koffi is loaded by the first call and a function is declared by its first use: a program that
 * never maps memory pays nothing.
 */
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { errnoCode, errnoNumber, KernelError, type ErrnoCode } from '@liveupdate/base';
import type koffiModule from 'koffi';
import { ADVICE } from './advice.ts';
import { fs } from './node-fs.ts';
import { checkRuntime } from './runtime.ts';

type Koffi = typeof koffiModule;
type Library = ReturnType<Koffi['load']>;

/** An address of this process. */
export type Address = bigint;

/** What mmap returns where it fails. */
export const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/**
 * What koffi gives us, once per process: the library is the process's own, so there is nothing to
 * choose.
 */
let loaded: { koffi: Koffi; library: Library } | undefined;

/**
 * koffi, and the symbols of this process (libc among them).
 *
 * @throws KernelError EOPNOTSUPP: no runtime that can map memory (`checkRuntime`), or koffi cannot
 * be loaded here
 */
export function native(): { koffi: Koffi; library: Library } {
  if (loaded) return loaded;
  checkRuntime();
  try {
    const koffi = loadKoffi();
    loaded = { koffi, library: koffi.load(null) };
    return loaded;
  } catch (cause) {
    const why =
      "koffi, the native part, cannot be loaded: install with optional dependencies, and not with Node's --permission";
    throw new KernelError('EOPNOTSUPP', why, { cause });
  }
}

/**
 * koffi's native part without any JavaScript of koffi: its entry module loads all of node:util to
 * announce what is deprecated, 10 ms that a replaced process would be away longer, and the one of
 * the package for this processor finds out which C library is there: 2 ms. Node is nearly always
 * linked with glibc. Where it is not, or packages lie elsewhere, Node's own way is gone.
 */
function loadKoffi(): Koffi {
  const file = koffiFile();
  if (file !== undefined) {
    const module = { exports: {} };
    try {
      process.dlopen(module, file);
      return module.exports as Koffi;
    } catch {
      // for another C library
    }
  }
  return createRequire(here())(packageHere()) as Koffi;
}

/**
 * The package with koffi for this processor. It is named by us, and not by koffi, whose install
 * script compiles nothing where this is there, and yet fails an installation with pnpm that has not
 * allowed it.
 */
const packageHere = () => `@koromix/koffi-linux-${process.arch}`;

/**
 * Where this code lies, as a file URL: this module, or the bundle of CommonJS that it is in, which
 * has no import.meta.
 */
function here(): string {
  const { url } = import.meta as { readonly url?: string };
  return url ?? pathToFileURL(__filename).href;
}

/**
 * The native part for this processor, in a folder of node_modules above, where npm and pnpm put it.
 * To ask Node's resolver takes 2 ms more.
 */
export function koffiFile(): string | undefined {
  const file = `node_modules/${packageHere()}/linux_${process.arch}/koffi.node`;
  for (let folder = new URL('.', here()); ;) {
    const found = new URL(file, folder);
    if (fs.existsSync(found)) return fileURLToPath(found);
    const up = new URL('..', folder);
    if (up.href === folder.href) return undefined;
    folder = up;
  }
}

/**
 * Where the memory of a buffer lies. It stays there while somebody holds the buffer, and nobody
 * transfers or resizes it.
 */
export function addressOf(buffer: ArrayBuffer): Address {
  return native().koffi.address(buffer);
}

/** The C functions as JavaScript calls them. */
interface Libc {
  mmap: (
    at: Address | null,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ) => Address | null;
  munmap: (address: Address, length: number) => number;
  madvise: (address: Address, length: number, advice: number) => number;
  execve: (file: string, args: readonly (string | null)[], env: readonly (string | null)[]) => number;
  sigaction: (signal: number, action: Uint8Array | null, before: Uint8Array | null) => number;
  clock_gettime: (clock: number, time: BigInt64Array) => number;
  waitpid: (pid: number, status: Int32Array | null, options: number) => number;
  fallocate: (fd: number, mode: number, at: number, length: number) => number;
  memfd_create: (name: string, flags: number) => number;
  fcntl: (fd: number, command: number, ...argument: [] | ['int', number] | ['void *', Uint8Array]) => number;
  lseek: (fd: number, at: number, whence: number) => number;
  linkat: (fromFd: number, from: string, toFd: number, to: string, flags: number) => number;
  getpagesize: () => number;
  ioctl: (fd: number, request: number, type: 'void *', argument: Address | Uint8Array) => number;
  syscall: (number: number, ...typedArguments: readonly (string | number | Uint8Array)[]) => number;
  reboot: (command: number) => number;
  sync: () => void;
  eventfd: (initial: number, flags: number) => number;
  poll: (descriptors: Uint8Array, count: number, timeout: number) => number;
  socket: (family: number, type: number, protocol: number) => number;
  socketpair: (family: number, type: number, protocol: number, pair: Int32Array) => number;
  bind: (fd: number, address: Uint8Array, length: number) => number;
  connect: (fd: number, address: Uint8Array, length: number) => number;
  listen: (fd: number, backlog: number) => number;
  getsockname: (fd: number, address: Uint8Array, length: Uint32Array) => number;
  getsockopt: (fd: number, level: number, option: number, value: Int32Array, length: Uint32Array) => number;
  setsockopt: (fd: number, level: number, option: number, value: Int32Array, length: number) => number;
  sendmsg: (fd: number, message: Address, flags: number) => number;
  recvmsg: (fd: number, message: Address, flags: number) => number;
  inet_pton: (family: number, text: string, address: Uint8Array) => number;
  inet_ntop: (family: number, address: Uint8Array, text: Uint8Array, length: number) => string | null;
}

/** The same in C; off_t has 64 bits on the machines above. */
const PROTOTYPES: Record<keyof Libc, string> = {
  mmap: 'void *mmap(void *, size_t, int, int, int, int64_t)',
  munmap: 'int munmap(void *, size_t)',
  madvise: 'int madvise(void *, size_t, int)',
  execve: 'int execve(const char *, const char **, const char **)',
  sigaction: 'int sigaction(int, void *, void *)',
  clock_gettime: 'int clock_gettime(int, void *)',
  waitpid: 'int waitpid(int, void *, int)',
  fallocate: 'int fallocate(int, int, int64_t, int64_t)',
  memfd_create: 'int memfd_create(const char *, unsigned int)',
  fcntl: 'int fcntl(int, int, ...)',
  lseek: 'int64_t lseek(int, int64_t, int)',
  linkat: 'int linkat(int, const char *, int, const char *, int)',
  getpagesize: 'int getpagesize()',
  ioctl: 'int ioctl(int, unsigned long, ...)',
  syscall: 'long syscall(long, ...)',
  reboot: 'int reboot(int)',
  sync: 'void sync()',
  eventfd: 'int eventfd(unsigned int, int)',
  poll: 'int poll(void *, unsigned long, int)',
  socket: 'int socket(int, int, int)',
  socketpair: 'int socketpair(int, int, int, void *)',
  bind: 'int bind(int, void *, unsigned int)',
  connect: 'int connect(int, void *, unsigned int)',
  listen: 'int listen(int, int)',
  getsockname: 'int getsockname(int, void *, void *)',
  getsockopt: 'int getsockopt(int, int, int, void *, void *)',
  setsockopt: 'int setsockopt(int, int, int, void *, unsigned int)',
  sendmsg: 'int64_t sendmsg(int, void *, int)',
  recvmsg: 'int64_t recvmsg(int, void *, int)',
  inet_pton: 'int inet_pton(int, const char *, void *)',
  inet_ntop: 'const char *inet_ntop(int, void *, void *, unsigned int)',
};

const declared: Partial<Libc> = {};

const ECONNRESET = errnoNumber('ECONNRESET');

/** errno of the call that failed last. */
let errno = 0;

/** A C function of this process, declared when it is first asked for. */
export function c<K extends keyof Libc>(name: K): Libc[K] {
  return (declared[name] ??= declare(name));
}

function declare<K extends keyof Libc>(name: K): Libc[K] {
  const { koffi, library } = native();
  const call: (...args: unknown[]) => unknown = library.func(PROTOTYPES[name]);
  return withErrno(
    call,
    () => koffi.errno(),
    (code) => {
      errno = code;
    },
  ) as Libc[K];
}

/**
 * A C function that tells its errno where it fails. The engine may come between a call and the look
 * at errno, once in some million times, and leave another's there (EAGAIN of a wait; ENOENT of a
 * file that it looked for). So an errno is believed when the call, made again, fails with it again:
 * a call that failed has changed nothing.
 *
 * ECONNRESET is believed at once. The kernel notes it at the socket and forgets it as it tells it:
 * the call made again would find an end of the connection, or data. The engine leaves no such
 * errno. EAGAIN of a socket may be gone at the second call, which then has been done once.
 *
 * @param read what errno is now
 */
export function withErrno<A extends unknown[], R>(
  call: (...args: A) => R,
  read: () => number,
  tell: (errno: number) => void,
): (...args: A) => R {
  return (...args) => {
    let seen = 0;
    for (;;) {
      const result = call(...args);
      if (result !== -1 && result !== MAP_FAILED) return result;
      const now = read(); // nothing of ours may run between the call and this
      if (now === seen || now === ECONNRESET) {
        tell(now);
        return result;
      }
      seen = now;
    }
  };
}

/** The code of the call that failed last. */
export function lastError(): ErrnoCode {
  return errnoCode(errno);
}

/** The KernelError of the call that failed last, with what was tried and what to do by code. */
export function failed(tried: string, advice: Partial<Record<ErrnoCode, string>> = {}): KernelError {
  const code = lastError();
  const what = advice[code] ?? ADVICE[code];
  return new KernelError(code, `${tried} failed (errno ${errno})${what === undefined ? '' : `: ${what}`}`);
}
