/**
 * The device /dev/liveupdate: the orchestrator as programs see it, by ioctls on raw bytes (kernel:
 * kernel/liveupdate/luo_core.c, luo_session.c).
 *
 * One program has it open at a time. Each session is a descriptor of its own, which outlives the
 * device's; see session-file.ts. What the previous kernel left is read when the device is opened
 * first; where that fails, no open ever succeeds, and nothing half-read is shown.
 *
 * Whoever makes a system call passes the descriptor table of its process. Arguments are the
 * caller's memory: results are written into them.
 */
import { type Bytes, bytesOf, checkObject, checkWhole, KernelError, type StructView } from '@liveupdate/base';
import type { DescriptorTable, ReleasableFile } from './descriptors.ts';
import { HeldSessions } from './held-sessions.ts';
import { callCommand, type Command } from './ioctl.ts';
import type { LiveUpdateOrchestrator } from './orchestrator.ts';
import { SessionFile } from './session-file.ts';
import { LIVEUPDATE_IOCTL, SessionArgument } from './uapi.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Text up to the NUL.
 *
 * @throws KernelError EINVAL: no NUL in the field, or no UTF-8: sessions here are named by text
 */
function nameOf(argument: StructView): string {
  if (!argument.isTerminated(SessionArgument.name))
    throw new KernelError('EINVAL', 'the name is not ended by a NUL: it has at most 63 bytes');
  const bytes = argument.slice(SessionArgument.name);
  try {
    return decoder.decode(bytes.subarray(0, bytes.indexOf(0)));
  } catch (cause) {
    throw new KernelError('EINVAL', 'the name is no UTF-8 text', { cause });
  }
}

/**
 * The name of a session to retrieve. One that no session can have is looked for as any other, as
 * Linux does, and not found.
 *
 * @throws KernelError ENOENT: no session has such a name
 */
function soughtNameOf(argument: StructView): string {
  let name: string;
  try {
    name = nameOf(argument);
  } catch (cause) {
    throw new KernelError('ENOENT', 'no session has such a name', { cause });
  }
  if (name === '') throw new KernelError('ENOENT', 'no session has an empty name');
  return name;
}

/** An open device. */
class DeviceFile implements ReleasableFile {
  readonly luo: LiveUpdateOrchestrator;
  readonly held: HeldSessions;
  readonly #closed: () => void;
  #references = 1;

  constructor(luo: LiveUpdateOrchestrator, held: HeldSessions, closed: () => void) {
    this.luo = luo;
    this.held = held;
    this.#closed = closed;
  }

  ioctl(descriptors: DescriptorTable, request: number, argument: Uint8Array): Promise<void> {
    return callCommand(COMMANDS, this, request, argument, descriptors);
  }

  get(): void {
    this.#checkOpen();
    this.#references += 1;
  }

  put(): void {
    this.release();
  }

  release(): void {
    this.#checkOpen();
    this.#references -= 1;
    if (this.#references === 0) this.#closed();
  }

  #checkOpen(): void {
    if (this.#references === 0) throw new KernelError('EBADF', 'the descriptor of the device is closed');
  }
}

/** A command that ends with a session's descriptor. */
function sessionCommand(
  request: number,
  install: (device: DeviceFile, argument: StructView, descriptors: DescriptorTable) => number,
): Command<DeviceFile> {
  return {
    request,
    size: SessionArgument.SIZE,
    run(device, argument, descriptors) {
      argument.setI32(SessionArgument.fd, install(device, argument, descriptors));
    },
  };
}

const COMMANDS: readonly Command<DeviceFile>[] = [
  sessionCommand(LIVEUPDATE_IOCTL.createSession, ({ luo, held }, argument, descriptors) => {
    const name = nameOf(argument);
    return SessionFile.install(descriptors, held, () => luo.createSession(name));
  }),
  sessionCommand(LIVEUPDATE_IOCTL.retrieveSession, ({ luo, held }, argument, descriptors) => {
    const name = soughtNameOf(argument);
    return SessionFile.install(descriptors, held, () => {
      if (held.names.has(name)) throw new KernelError('EINVAL', `session '${name}' was retrieved already`);
      return luo.retrieveSession(name);
    });
  }),
];

export class LiveUpdateDevice {
  readonly #luo: LiveUpdateOrchestrator;
  readonly #held = new HeldSessions();
  #state: 'closed' | 'open' = 'closed';

  constructor(luo: LiveUpdateOrchestrator) {
    this.#luo = luo;
  }

  /**
   * Opens the device, for one process at a time.
   *
   * @returns a descriptor in `descriptors`
   * @throws KernelError ENODEV: live update is off. EBUSY: it is open. EIO: what the previous
   * kernel left cannot be read; so it will be for every later open. EMFILE: no number is free.
   * EINVAL: no table.
   */
  open(descriptors: DescriptorTable): number {
    checkObject(descriptors, 'a table of descriptors');
    if (!this.#luo.isEnabled) throw new KernelError('ENODEV', 'live update is off');
    if (this.#state === 'open')
      throw new KernelError('EBUSY', 'the device is open: one program at a time has it');
    this.#luo.readIncoming();
    const file = new DeviceFile(this.#luo, this.#held, () => {
      this.#state = 'closed';
    });
    const fd = descriptors.install(file, { closeOnExec: false });
    this.#state = 'open';
    return fd;
  }

  /**
   * An ioctl on a descriptor of the device or of a session. `argument` is the memory that it points
   * to; what it ends with stands there when the promise is fulfilled.
   *
   * @throws KernelError EBADF: no such descriptor. ENOTTY: a file of another kind, or a known
   * number with other bits. EINVAL: a number that no command has, a structure that is too small, a
   * reserved field that is not 0, or a command for the other kind of session. E2BIG: more in the
   * structure than is known. EFAULT: it ends before its size. EMFILE: no number is free. What the
   * orchestrator's and the sessions' methods throw.
   */
  async ioctl(descriptors: DescriptorTable, fd: number, request: number, argument: Bytes): Promise<void> {
    checkObject(descriptors, 'a table of descriptors');
    const file = descriptors.get(fd);
    if (!(file instanceof DeviceFile || file instanceof SessionFile))
      throw new KernelError('ENOTTY', `descriptor ${fd} is neither the device nor a session`);
    checkWhole(request, 'a request', { max: 0xffff_ffff });
    await file.ioctl(descriptors, request, bytesOf(argument));
  }
}
