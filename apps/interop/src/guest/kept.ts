/** What of a memfd must be the same after a live update: asked for in a guest, compared outside. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { Memfd } from '@liveupdate/linux';
import { report, SHARE } from './report.ts';

export interface KeptFile {
  /** In decimal. */
  readonly token: string;
  readonly size: number;
  readonly position: number;
  /** A mask of SEAL_*. */
  readonly seals: number;
  readonly sha256: string;
}

export interface KeptSession {
  readonly name: string;
  readonly files: readonly KeptFile[];
}

const CHUNK = 2 ** 20;

/** What a descriptor stands for. */
export function lookAt(fd: number, token: string): KeptFile {
  const { size } = fs.fstatSync(fd);
  const position = Number(/^pos:\s*(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]);
  const hash = createHash('sha256');
  const part = Buffer.alloc(CHUNK);
  for (let at = 0; at < size;) {
    const length = fs.readSync(fd, part, 0, CHUNK, at);
    if (length === 0) break; // a size that is not true
    hash.update(part.subarray(0, length));
    at += length;
  }
  return { token, size, position, seals: Memfd.of(fd).seals, sha256: hash.digest('hex') };
}

/** The sessions that the host told the guest to look for. */
export function expectedSessions(): KeptSession[] {
  return JSON.parse(fs.readFileSync(`${SHARE}/expected.json`, 'utf8')) as KeptSession[];
}

/** A session of the kernel before, with the descriptors of its files. */
export interface Retrieved {
  readonly session: DeviceSession;
  readonly name: string;
  readonly fds: ReadonlyMap<string, number>;
}

/** Retrieves all that the host said, and tells it what it is. */
export function retrieveAll(): Retrieved[] {
  using device = openDevice();
  const found: KeptSession[] = [];
  const retrieved = expectedSessions().map(({ name, files }) => {
    const session = device.retrieveSession(name);
    const fds = new Map(files.map(({ token }) => [token, session.retrieveFd(BigInt(token))]));
    found.push({ name: session.name, files: Array.from(fds, ([token, fd]) => lookAt(fd, token)) });
    return { session, name, fds };
  });
  fs.writeFileSync(`${SHARE}/found.json`, JSON.stringify(found));
  report('retrieved');
  return retrieved;
}
