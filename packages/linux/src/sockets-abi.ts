/**
 * Structures and numbers of sockets, as Linux has them on x64 and arm64 alike (glibc and musl), and
 * the memory in which C finds a message. Nothing else knows an offset of them.
 *
 * musl declares `msg_iovlen`, `msg_controllen` and `cmsg_len` as 32 bits with 32 of padding behind:
 * with zeros there it is the same structure.
 */
import { assert, bytesOf, KernelError, layout, shown, StructView, type Bytes } from '@liveupdate/base';
import { checkPath } from './inputs.ts';
import { addressOf, c, type Address } from './native.ts';

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_TYPE = 3;
export const SO_REUSEPORT = 15;
export const SO_ACCEPTCONN = 30;
export const SO_DOMAIN = 39;
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;

export const MSG_CTRUNC = 0x8;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x4000_0000;
const SCM_RIGHTS = 1;

/** Linux: SCM_MAX_FD. */
export const MOST_FDS_PER_MESSAGE = 253;

/** struct sockaddr_in. Port and address are in network order. */
const SockaddrIn = layout('sockaddr_in', 16, {
  family: { at: 0, bytes: 2 },
  port: { at: 2, bytes: 2 },
  address: { at: 4, bytes: 4 },
  zero: { at: 8, bytes: 8 },
});

/** struct sockaddr_in6. Port and address are in network order. */
const SockaddrIn6 = layout('sockaddr_in6', 28, {
  family: { at: 0, bytes: 2 },
  port: { at: 2, bytes: 2 },
  flow: { at: 4, bytes: 4 },
  address: { at: 8, bytes: 16 },
  scope: { at: 24, bytes: 4 },
});

/**
 * struct sockaddr_un. How long the address is says how long the name is. An abstract name begins
 * with a NUL and has none at its end; a path has one there.
 */
const SockaddrUn = layout('sockaddr_un', 110, {
  family: { at: 0, bytes: 2 },
  path: { at: 2, bytes: 108 },
});

/** Any address fits (struct sockaddr_storage). */
export const ADDRESS_BYTES = 128;

/** Bytes of a path with its NUL left out, or of an abstract name without the NUL before it. */
const MOST_NAME_BYTES = SockaddrUn.path.bytes - 1;

/** struct msghdr. `name` is where a datagram goes to. */
const MsgHdr = layout('msghdr', 56, {
  name: { at: 0, bytes: 8 },
  nameLength: { at: 8, bytes: 4 },
  pad: { at: 12, bytes: 4 },
  pieces: { at: 16, bytes: 8 }, // address of struct iovec[]
  pieceCount: { at: 24, bytes: 8 },
  control: { at: 32, bytes: 8 }, // address of struct cmsghdr and what follows it
  controlLength: { at: 40, bytes: 8 },
  flags: { at: 48, bytes: 4 }, // out: MSG_TRUNC, MSG_CTRUNC
  padEnd: { at: 52, bytes: 4 },
});

/** struct iovec. */
const IoVec = layout('iovec', 16, {
  address: { at: 0, bytes: 8 },
  length: { at: 8, bytes: 8 },
});

/** struct cmsghdr. Its data follows at once: here descriptors, each an s32. */
const CmsgHdr = layout('cmsghdr', 16, {
  length: { at: 0, bytes: 8 }, // with this header, without what aligns the next to 8 bytes
  level: { at: 8, bytes: 4 },
  type: { at: 12, bytes: 4 },
});

const FD_BYTES = 4;

/**
 * Room for control data: 253 descriptors take 1,032 bytes. The rest is for what a socket that
 * somebody else has set up may add (credentials, times), so that no descriptor is lost for it.
 */
const CONTROL_BYTES = 2048;

/** Bytes of a message that there is room for from the start. */
export const USUAL_BYTES = 64 * 1024;
/** Linux takes some 200 KiB, unless a socket was set up for more. */
export const MOST_BYTES = 1024 * 1024;

/** Where the parts lie, each aligned to 8 bytes. */
const AT = {
  header: 0,
  piece: MsgHdr.SIZE,
  name: MsgHdr.SIZE + IoVec.SIZE,
  control: MsgHdr.SIZE + IoVec.SIZE + ADDRESS_BYTES,
};

/** What a message brought. */
interface Incoming {
  readonly fds: number[];
  readonly bytes: Uint8Array;
  /** MSG_TRUNC, MSG_CTRUNC. */
  readonly flags: number;
}

/**
 * Memory of one message: sendmsg and recvmsg want addresses, which are found out once. A message is
 * laid out, the call is made and what it brought is taken out before anybody else comes.
 */
class MessageMemory {
  readonly #buffer = new ArrayBuffer(AT.control + CONTROL_BYTES);
  readonly #fields = new DataView(this.#buffer);
  readonly #header = new StructView(new Uint8Array(this.#buffer, AT.header, MsgHdr.SIZE));
  readonly #piece = new StructView(new Uint8Array(this.#buffer, AT.piece, IoVec.SIZE));
  readonly #name = new Uint8Array(this.#buffer, AT.name, ADDRESS_BYTES);
  readonly #address = addressOf(this.#buffer);
  #data = new Uint8Array(0);

  constructor() {
    this.#header.setU64(MsgHdr.name, this.#address + BigInt(AT.name));
    this.#header.setU64(MsgHdr.pieces, this.#address + BigInt(AT.piece));
    this.#header.setU64(MsgHdr.pieceCount, 1);
    this.#header.setU64(MsgHdr.control, this.#address + BigInt(AT.control));
    this.#grow(USUAL_BYTES);
  }

  /** Lays out what is to be sent; `to` is the address of a datagram. Returns where it lies. */
  outgoing(fds: readonly number[], bytes: Uint8Array, to?: Uint8Array): Address {
    assert(fds.length <= MOST_FDS_PER_MESSAGE && bytes.length <= MOST_BYTES, 'a message is too large');
    const control = fds.length === 0 ? 0 : CmsgHdr.SIZE + fds.length * FD_BYTES;
    this.#prepare(bytes.length, align(control), to?.length ?? 0);
    this.#data.set(bytes);
    if (to) this.#name.set(to);
    if (control === 0) return this.#address;
    const fields = this.#fields;
    fields.setUint32(AT.control + CmsgHdr.length.at, control, true);
    fields.setUint32(AT.control + CmsgHdr.length.at + 4, 0, true);
    fields.setInt32(AT.control + CmsgHdr.level.at, SOL_SOCKET, true);
    fields.setInt32(AT.control + CmsgHdr.type.at, SCM_RIGHTS, true);
    for (let i = 0; i < fds.length; i++)
      fields.setInt32(AT.control + CmsgHdr.SIZE + i * FD_BYTES, fds[i], true);
    return this.#address;
  }

  /** Makes room for what is to be received. Returns where it lies. */
  incoming(mostBytes: number): Address {
    this.#prepare(mostBytes, CONTROL_BYTES, 0);
    return this.#address;
  }

  /** What the last call brought; `length` is what it returned. */
  received(length: number): Incoming {
    const fields = this.#fields;
    const fds: number[] = [];
    const end = AT.control + this.#header.getNumber(MsgHdr.controlLength);
    for (let at = AT.control; at + CmsgHdr.SIZE <= end;) {
      const bytes = fields.getUint32(at + CmsgHdr.length.at, true);
      if (bytes < CmsgHdr.SIZE) break; // never from Linux
      const level = fields.getInt32(at + CmsgHdr.level.at, true);
      const type = fields.getInt32(at + CmsgHdr.type.at, true);
      if (level === SOL_SOCKET && type === SCM_RIGHTS) {
        for (let fd = at + CmsgHdr.SIZE; fd + FD_BYTES <= at + bytes; fd += FD_BYTES)
          fds.push(fields.getInt32(fd, true));
      }
      at += align(bytes);
    }
    return { fds, bytes: this.#data.slice(0, length), flags: this.#header.getU32(MsgHdr.flags) };
  }

  #prepare(length: number, control: number, name: number): void {
    if (length > this.#data.length) this.#grow(MOST_BYTES);
    this.#piece.setU64(IoVec.length, length);
    this.#header.setU64(MsgHdr.controlLength, control);
    this.#header.setU32(MsgHdr.nameLength, name);
    this.#header.setU32(MsgHdr.flags, 0);
  }

  #grow(length: number): void {
    const buffer = new ArrayBuffer(length);
    this.#data = new Uint8Array(buffer);
    this.#piece.setU64(IoVec.address, addressOf(buffer));
  }
}

/** CMSG_ALIGN. */
const align = (bytes: number): number => (bytes + 7) & ~7;

let memory: MessageMemory | undefined;

/** The one of this thread: every thread has modules of its own. */
export const messageMemory = (): MessageMemory => (memory ??= new MessageMemory());

/**
 * Bytes for one message.
 *
 * @throws KernelError EINVAL: no bytes, or none at all. EMSGSIZE: above 1 MiB
 */
export function checkMessage(given: Bytes): Uint8Array {
  const bytes = bytesOf(given);
  if (bytes.length === 0) throw new KernelError('EINVAL', 'a message has at least one byte');
  if (bytes.length <= MOST_BYTES) return bytes;
  throw new KernelError(
    'EMSGSIZE',
    `a message of ${bytes.length} bytes is above ${MOST_BYTES}: send it in parts`,
  );
}

/**
 * An IP address in text, and a port, as bind(2) wants it.
 *
 * @throws KernelError EINVAL: no such address
 */
export function ipAddress(host: string, port: number): Uint8Array {
  const isV6 = host.includes(':');
  const type = isV6 ? SockaddrIn6 : SockaddrIn;
  const address = new StructView(new Uint8Array(type.SIZE));
  address.setU16(type.family, isV6 ? AF_INET6 : AF_INET);
  address.view.setUint16(type.port.at, port);
  // C would stop reading at a NUL.
  if (host.includes('\0') || c('inet_pton')(familyOf(address.bytes), host, address.slice(type.address)) !== 1)
    throw new KernelError(
      'EINVAL',
      `${shown(host)} is no address: one of IPv4 or IPv6 in digits is expected`,
    );
  return address.bytes;
}

/**
 * The address of a Unix socket: a path, or a name after a NUL, which needs no file.
 *
 * @throws KernelError EINVAL: no path and no name. ENAMETOOLONG: above 107 bytes
 */
export function unixAddress(path: string): Uint8Array {
  const isName = isAbstract(path);
  const text = checkPath(isName ? path.slice(1) : path);
  const bytes = Buffer.from(text);
  if (bytes.length > MOST_NAME_BYTES) {
    const why = `a socket has at most ${MOST_NAME_BYTES} bytes of path or name, ${shown(text)} has ${bytes.length}`;
    throw new KernelError('ENAMETOOLONG', `${why}: choose a shorter one`);
  }
  // One byte more than the text: the NUL before a name, or the one behind a path.
  const address = new StructView(new Uint8Array(SockaddrUn.path.at + bytes.length + 1));
  address.setU16(SockaddrUn.family, AF_UNIX);
  address.bytes.set(bytes, SockaddrUn.path.at + (isName ? 1 : 0));
  return address.bytes;
}

/** Whether the name of a Unix socket stands for no file. */
export const isAbstract = (path: string): boolean => typeof path === 'string' && path.startsWith('\0');

/** A name with its NUL as systemd writes it, for a message. */
export const shownPath = (path: string): string => path.replace(/^\0/, '@');

/** AF_UNIX, AF_INET, AF_INET6 or another. */
export const familyOf = (address: Uint8Array): number => address[0] | (address[1] << 8);

/** Address and port of an AF_INET or AF_INET6 address. */
export function ipOf(bytes: Uint8Array): { host: string; port: number } {
  const type = familyOf(bytes) === AF_INET6 ? SockaddrIn6 : SockaddrIn;
  const address = new StructView(bytes);
  const text = new Uint8Array(64); // INET6_ADDRSTRLEN is 46
  const host = c('inet_ntop')(familyOf(bytes), address.slice(type.address), text, text.length);
  assert(host !== null, 'an address has no text');
  return { host, port: address.view.getUint16(type.port.at) };
}

/** Path or abstract name of an AF_UNIX address; empty where it has none. */
export function unixPathOf(address: Uint8Array): string {
  const path = Buffer.from(address.subarray(SockaddrUn.path.at));
  if (path.length === 0 || path[0] === 0) return path.toString();
  const end = path.indexOf(0);
  return path.toString('utf8', 0, end < 0 ? path.length : end);
}
