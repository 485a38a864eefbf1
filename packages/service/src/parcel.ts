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

/** Something that is packed: what the next program needs to find it. */
export interface Packed {
  readonly env: Readonly<Record<string, string>>;
  readonly keepFds: readonly number[];
  /** Where there is no next program. */
  discard(): void;
}

/** Packs what can be JSON for the program that replaces this one, which finds it by a variable. */
export function packJson(variable: string, content: object, fds: readonly number[]): Packed {
  const memfd = Memfd.create('liveupdate-service', 0);
  memfd.write([Buffer.from(JSON.stringify(content))]);
  return {
    env: { [variable]: String(memfd.fd) },
    keepFds: [memfd.fd, ...fds],
    discard: () => {
      memfd.close();
    },
  };
}

/**
 * Unpacks what stands behind a variable, which is deleted; undefined where it is not set.
 *
 * @throws KernelError EINVAL: the variable is another program's. EBADF: no such descriptor
 */
export function unpackJson(variable: string, env: Record<string, string | undefined>): unknown {
  const fd = inheritedFd(variable, env);
  if (fd === undefined) return undefined;
  Reflect.deleteProperty(env, variable);
  try {
    const bytes = Buffer.alloc(fs.fstatSync(fd).size);
    fs.readSync(fd, bytes, 0, bytes.length, 0);
    return JSON.parse(bytes.toString());
  } catch (cause) {
    throw new KernelError('EINVAL', `${variable}=${fd} leads to nothing of a service: unset it`, { cause });
  } finally {
    fs.closeSync(fd);
  }
}

export function pack(parcel: Parcel): Packed {
  const fds = [...parcel.listeners.map((listener) => listener.fd), ...parcel.fds];
  return packJson(PARCEL_VARIABLE, parcel, fds);
}

/** @throws KernelError EINVAL: the variable is another program's. EBADF: no such descriptor */
export function unpack(env: Record<string, string | undefined> = process.env): Parcel | undefined {
  const parcel = unpackJson(PARCEL_VARIABLE, env) as Parcel | undefined;
  if (!parcel) return undefined;
  for (const fd of [...parcel.listeners.map((listener) => listener.fd), ...parcel.fds])
    setClosesOnExec(fd, true);
  return parcel;
}
