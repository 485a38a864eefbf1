/** For tests: sockets of kinds that the package does not make, and what is open. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { c } from './native.ts';
import { AF_UNIX, SOCK_DGRAM, unixAddress } from './sockets-abi.ts';
import { newSocket } from './sockets.ts';

/** Close-on-exec and non-blocking, as /proc shows flags of an open file. */
export const CLOEXEC = 0o2000000;
export const NONBLOCK = 0o4000;

/** Whether this system has addresses of IPv6. */
export const HAS_IPV6 =
  fs.existsSync('/proc/net/if_inet6') && fs.readFileSync('/proc/net/if_inet6', 'utf8') !== '';

/** The socket of a service manager: `receiveFds` takes what arrives. */
export function bindDatagram(path: string): number {
  return bindUnix(path, SOCK_DGRAM);
}

/** A socket that is bound, and does not listen. */
export function bindUnix(path: string, type: number): number {
  const fd = newSocket(AF_UNIX, type);
  const address = unixAddress(path);
  expect(c('bind')(fd, address, address.length)).toBe(0);
  return fd;
}

/** The flags that a descriptor and its open file have. */
export function flagsOf(fd: number): number {
  const flags = /flags:\s+(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  return Number.parseInt(flags ?? '', 8) & (CLOEXEC | NONBLOCK);
}

export const openFds = (): number => fs.readdirSync('/proc/self/fd').length;

/** Every test of the file leaves as many descriptors as it found. */
export function expectNothingLeaked(): void {
  let before = 0;
  beforeEach(() => {
    before = openFds();
  });
  afterEach(async () => {
    await vi.waitFor(() => {
      expect(openFds()).toBe(before);
    });
  });
}

/** A folder for one test. */
export function temporaryFolder(): { at: (name: string) => string } & Disposable {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sockets-'));
  return {
    at: (name) => path.join(folder, name),
    [Symbol.dispose]: () => {
      fs.rmSync(folder, { recursive: true });
    },
  };
}

/** Closes descriptors at the end of a test. */
export class Fds implements Disposable {
  readonly #fds: number[] = [];

  add(fd: number): number {
    this.#fds.push(fd);
    return fd;
  }

  pair([a, b]: [number, number]): [number, number] {
    return [this.add(a), this.add(b)];
  }

  /** At once. */
  close(fd: number): void {
    this.#fds.splice(this.#fds.indexOf(fd), 1);
    fs.closeSync(fd);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) fs.closeSync(fd);
  }
}
