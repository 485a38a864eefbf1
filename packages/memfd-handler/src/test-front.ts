/**
 * Two ways to the same sessions: the TypeScript API, and the device's ioctls on raw bytes. What a
 * scenario does, it does through either.
 */
import { KernelError, StructView, type Field } from '@liveupdate/base';
import {
  FileArgument,
  FinishArgument,
  GetNameArgument,
  LIVEUPDATE_IOCTL,
  LiveUpdateDevice,
  ProcessDescriptors,
  SessionArgument,
  type IncomingSession,
  type OutgoingSession,
  type PreservableFile,
} from '@liveupdate/luo-core';
import { ShmemFile } from '@liveupdate/shmem';
import type { TestKernel } from './test-kernel.ts';

/** A session, whatever it is made of. */
export interface FrontSession {
  preserve(file: PreservableFile, token: number): Promise<void>;
  retrieve(token: number): Promise<ShmemFile>;
  finish(): Promise<void>;
  name(): Promise<string>;
  close(): Promise<void>;
}

export interface Front {
  /** A name as bytes: up to its NUL, or 64 of them without one. */
  create(name: string): Promise<FrontSession>;
  retrieveSession(name: string): Promise<FrontSession>;
  /** Asks for the device once more. The API is nobody's own. */
  openAgain(): void;
  /** Closes everything, as the end of the process does. */
  close(): Promise<void>;
}

export type MakeFront = (kernel: TestKernel) => Front;

class ApiSession implements FrontSession {
  readonly #session: OutgoingSession | IncomingSession;

  constructor(session: OutgoingSession | IncomingSession) {
    this.#session = session;
  }

  preserve(file: PreservableFile, token: number): Promise<void> {
    if (!('preserve' in this.#session)) throw new KernelError('EINVAL', 'an incoming session');
    return this.#session.preserve(file, token);
  }

  retrieve(token: number): Promise<ShmemFile> {
    if (!('retrieve' in this.#session)) throw new KernelError('EINVAL', 'an outgoing session');
    return this.#session.retrieve(token, ShmemFile);
  }

  finish(): Promise<void> {
    if (!('finish' in this.#session)) throw new KernelError('EINVAL', 'an outgoing session');
    return this.#session.finish();
  }

  name(): Promise<string> {
    return Promise.resolve(this.#session.name);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

/** What is done at once, as a promise. */
const later = <T>(work: () => T): Promise<T> =>
  new Promise((resolve) => {
    resolve(work());
  });

const apiFront: MakeFront = ({ luo }) => ({
  create: (name) => later(() => new ApiSession(luo.createSession(name))),
  retrieveSession: (name) => later(() => new ApiSession(luo.retrieveSession(name))),
  openAgain: () => undefined,
  close: () => Promise.resolve(),
});

/** An argument that says its size. */
function argumentOf({ SIZE, size }: { readonly SIZE: number; readonly size: Field }): StructView {
  const argument = new StructView(new Uint8Array(SIZE));
  argument.setU32(size, SIZE);
  return argument;
}

/** A process with the device open. */
class DeviceProcess implements Front {
  readonly table = new ProcessDescriptors(16_384);
  readonly #device: LiveUpdateDevice;
  readonly #fd: number;

  constructor({ luo }: TestKernel) {
    this.#device = new LiveUpdateDevice(luo);
    this.#fd = this.#device.open(this.table);
  }

  ioctl(fd: number, request: number, argument: StructView): Promise<void> {
    return this.#device.ioctl(this.table, fd, request, argument.bytes);
  }

  create(name: string): Promise<FrontSession> {
    return this.#session(LIVEUPDATE_IOCTL.createSession, name);
  }

  retrieveSession(name: string): Promise<FrontSession> {
    return this.#session(LIVEUPDATE_IOCTL.retrieveSession, name);
  }

  openAgain(): void {
    this.#device.open(this.table);
  }

  async close(): Promise<void> {
    for (const fd of this.table.numbers.reverse()) await this.table.close(fd);
  }

  async #session(request: number, name: string): Promise<FrontSession> {
    const argument = argumentOf(SessionArgument);
    argument.slice(SessionArgument.name).set(new TextEncoder().encode(name)); // 64 bytes fit, without a NUL
    await this.ioctl(this.#fd, request, argument);
    return new DeviceSession(this, argument.getI32(SessionArgument.fd));
  }
}

class DeviceSession implements FrontSession {
  readonly #process: DeviceProcess;
  readonly #fd: number;

  constructor(process: DeviceProcess, fd: number) {
    this.#process = process;
    this.#fd = fd;
  }

  async preserve(file: PreservableFile, token: number): Promise<void> {
    const { table } = this.#process;
    file.get?.();
    const fd = table.install(file, { closeOnExec: false });
    try {
      await this.#file(LIVEUPDATE_IOCTL.preserveFd, fd, token);
    } finally {
      await table.close(fd);
    }
  }

  async retrieve(token: number): Promise<ShmemFile> {
    const { table } = this.#process;
    const fd = await this.#file(LIVEUPDATE_IOCTL.retrieveFd, -1, token);
    const file = table.get(fd);
    if (!(file instanceof ShmemFile)) throw new KernelError('EINVAL', 'no memfd');
    file.get(); // ours, as the API gives it
    await table.close(fd);
    return file;
  }

  async finish(): Promise<void> {
    await this.#process.ioctl(this.#fd, LIVEUPDATE_IOCTL.finish, argumentOf(FinishArgument));
  }

  async name(): Promise<string> {
    const argument = argumentOf(GetNameArgument);
    await this.#process.ioctl(this.#fd, LIVEUPDATE_IOCTL.getName, argument);
    return argument.getString(GetNameArgument.name);
  }

  async close(): Promise<void> {
    await this.#process.table.close(this.#fd);
  }

  async #file(request: number, fd: number, token: number): Promise<number> {
    const argument = argumentOf(FileArgument);
    argument.setI32(FileArgument.fd, fd);
    argument.setU64(FileArgument.token, token);
    await this.#process.ioctl(this.#fd, request, argument);
    return argument.getI32(FileArgument.fd);
  }
}

export const FRONTS: readonly [string, MakeFront][] = [
  ['the TypeScript API', apiFront],
  ['the device', (kernel) => new DeviceProcess(kernel)],
];
