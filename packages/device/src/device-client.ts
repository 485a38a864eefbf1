/**
 * /dev/liveupdate of the running kernel (kernel: kernel/liveupdate/luo_core.c): sessions for the
 * next kernel are made here, and those of the one before are found.
 *
 * - One program of the machine has it open at a time. Sessions outlive it: each is a descriptor of
 *   its own.
 * - All descriptors are closed on exec.
 * - Commands are system calls that do not return before they are done: they take as long as the
 *   kernel takes, for a preserve of gigabytes that is milliseconds.
 */
import * as fs from 'node:fs';
import { byteLength, checkText, codeOf, KernelError, StructView } from '@liveupdate/base';
import { checkPath, checkRuntime } from '@liveupdate/linux';
import { LIVEUPDATE_IOCTL, MAX_SESSION_NAME, SessionArgument } from '@liveupdate/luo-core';
import { DeviceSession } from './device-session.ts';
import { command, type Refusals } from './refusals.ts';

/** Where the kernel has its device. */
export const DEVICE_PATH = '/dev/liveupdate';

/** What each refusal to open means. */
const OPEN_REFUSALS: Refusals = {
  ENOENT:
    'there is none: it takes Linux 6.19 or newer with CONFIG_LIVEUPDATE, booted with `kho=on liveupdate=on`',
  EACCES: 'only root may open it: run this as root',
  EPERM: 'this container does not allow it: pass the device on to it, or run this on the host',
  ENODEV: 'live update is off: boot with `kho=on liveupdate=on` on the command line of the kernel',
  ENXIO: 'live update is off: boot with `kho=on liveupdate=on` on the command line of the kernel',
  EBUSY: 'another program has it open: only one may, so end that one first',
  EIO: 'what the kernel before left cannot be read; it is lost, and so are live updates until a reboot',
  EMFILE: 'too many descriptors are open: close some, or raise `ulimit -n`',
};

const CREATE_REFUSALS: Refusals = {
  EEXIST: 'there is one of that name: choose another, or let its owner close it',
  EINVAL: `a name has 1 to ${MAX_SESSION_NAME} bytes`,
  ENOSPC: 'the kernel takes no more sessions: close some',
};

const RETRIEVE_REFUSALS: Refusals = {
  ENOENT: 'the kernel before left none of that name',
  EINVAL: `it was retrieved already, or the name has not 1 to ${MAX_SESSION_NAME} bytes`,
};

/** An open /dev/liveupdate. */
export class DeviceClient implements Disposable {
  readonly #fd: number;
  #isOpen = true;

  /** @internal */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The open descriptor. It belongs to this object. @throws KernelError EBADF: closed */
  get fd(): number {
    if (!this.#isOpen) throw new KernelError('EBADF', 'the device is closed');
    return this.#fd;
  }

  /**
   * Makes a session for the next kernel. It lives while its descriptor is open: a program must hold
   * it until the kexec.
   *
   * @throws KernelError EINVAL: no name of 1 to 63 bytes. EEXIST: the name is taken. EBADF: closed.
   * EMFILE, ENFILE, ENOMEM, ENOSPC: no descriptor, no memory, no room. EBUSY: an update is on its
   * way.
   */
  createSession(name: string): DeviceSession {
    return this.#session(LIVEUPDATE_IOCTL.createSession, name, 'creating', CREATE_REFUSALS);
  }

  /**
   * Takes a session that the kernel before left. Closing it finishes it.
   *
   * @throws KernelError ENOENT: there is none of that name. EINVAL: it was retrieved already, or no
   * name of 1 to 63 bytes. EBADF: closed. EMFILE, ENFILE, ENOMEM: no descriptor, no memory.
   */
  retrieveSession(name: string): DeviceSession {
    return this.#session(LIVEUPDATE_IOCTL.retrieveSession, name, 'retrieving', RETRIEVE_REFUSALS);
  }

  /** Closes the device, for another program to open it; sessions stay. Twice is once. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    fs.closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #session(request: number, name: string, verb: string, refusals: Refusals): DeviceSession {
    checkName(name);
    const argument = new StructView(new Uint8Array(SessionArgument.SIZE));
    argument.setU32(SessionArgument.size, SessionArgument.SIZE);
    argument.setString(SessionArgument.name, name);
    command(this.fd, request, argument.bytes, `${verb} session '${name}'`, refusals);
    return new DeviceSession(argument.getI32(SessionArgument.fd));
  }
}

function checkName(name: string): void {
  const bytes = byteLength(checkText(name, 'the name of a session'));
  if (bytes >= 1 && bytes <= MAX_SESSION_NAME && !name.includes('\0')) return;
  throw new KernelError(
    'EINVAL',
    `the name of a session has 1 to ${MAX_SESSION_NAME} bytes without a NUL, not ${bytes}`,
  );
}

/**
 * Opens the device of the running kernel.
 *
 * @param path where it is
 * @throws KernelError ENOENT: there is none: an old kernel, or one without live updates. EACCES,
 * EPERM: not allowed. ENODEV, ENXIO: live update is off. EBUSY: another program has it. EIO: what
 * the kernel before left cannot be read. EMFILE, ENFILE: too many files. EINVAL: no path. ENOTTY:
 * no device. EOPNOTSUPP: this runtime cannot (`checkRuntime`).
 */
export function openDevice(path: string = DEVICE_PATH): DeviceClient {
  checkPath(path);
  checkRuntime();
  const fd = open(path);
  if (fs.fstatSync(fd).isCharacterDevice()) return new DeviceClient(fd);
  fs.closeSync(fd);
  throw noDevice(path);
}

/**
 * Checks whether the device is there and may be opened, without opening it.
 *
 * @param path where it is
 * @throws KernelError ENOENT, EACCES, EPERM, ENOTTY, EINVAL: as openDevice
 */
export function checkDevice(path: string = DEVICE_PATH): void {
  checkPath(path);
  try {
    fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK);
  } catch (cause) {
    throw refused(path, cause);
  }
  if (!fs.statSync(path).isCharacterDevice()) throw noDevice(path);
}

function noDevice(path: string): KernelError {
  return new KernelError('ENOTTY', `'${path}' is no device: name the one of live updates`);
}

function refused(path: string, cause: unknown): KernelError {
  const code = codeOf(cause);
  return new KernelError(code, `opening '${path}': ${OPEN_REFUSALS[code] ?? 'the system refuses it'}`, {
    cause,
  });
}

function open(path: string): number {
  try {
    return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  } catch (cause) {
    throw refused(path, cause);
  }
}
