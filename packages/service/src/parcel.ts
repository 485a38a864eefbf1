/**
 * What goes along with an exec: descriptors by their numbers, and a text that tells of them, in a
 * memory file whose number stands in the environment.
 */
import { KernelError } from '@liveupdate/base';
import { inheritedFd, Memfd, setClosesOnExec } from '@liveupdate/linux';
import type { PassedConnection } from './protocol.ts';

const fs = process.getBuiltinModule('node:fs');

/** Environment variable by which a replaced service learns of its sockets. */
const PARCEL_VARIABLE = 'LIVEUPDATE_SERVICE_FD';

export interface Parcel {
  readonly listeners: readonly { readonly key: string; readonly fd: number }[];
  readonly connections: readonly PassedConnection[];
  /** Of the connections, in order. */
  readonly fds: readonly number[];
}

/** A parcel that is packed: what the next program needs to find it. */
export interface Packed {
  readonly env: Readonly<Record<string, string>>;
  readonly keepFds: readonly number[];
  /** Where there is no next program. */
  discard(): void;
}

export function pack(parcel: Parcel): Packed {
  const memfd = Memfd.create('liveupdate-service', 0);
  memfd.write([Buffer.from(JSON.stringify(parcel))]);
  const { fd } = memfd;
  return {
    env: { [PARCEL_VARIABLE]: String(fd) },
    keepFds: [fd, ...parcel.listeners.map((listener) => listener.fd), ...parcel.fds],
    discard: () => {
      memfd.close();
    },
  };
}

/** @throws KernelError EINVAL: the variable is another program's. EBADF: no such descriptor */
export function unpack(env: Record<string, string | undefined> = process.env): Parcel | undefined {
  const fd = inheritedFd(PARCEL_VARIABLE, env);
  if (fd === undefined) return undefined;
  Reflect.deleteProperty(env, PARCEL_VARIABLE);
  let parcel: Parcel;
  try {
    const bytes = Buffer.alloc(fs.fstatSync(fd).size);
    fs.readSync(fd, bytes, 0, bytes.length, 0);
    parcel = JSON.parse(bytes.toString()) as Parcel;
  } catch (cause) {
    throw new KernelError('EINVAL', `${PARCEL_VARIABLE}=${fd} leads to no sockets of a service: unset it`, {
      cause,
    });
  } finally {
    fs.closeSync(fd);
  }
  for (const other of [...parcel.listeners.map((listener) => listener.fd), ...parcel.fds])
    setClosesOnExec(other, true);
  return parcel;
}
