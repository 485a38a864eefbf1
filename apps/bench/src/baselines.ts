/**
 * What live update is measured against within this process: copying the bytes, writing the records
 * alone, and files on tmpfs.
 */
import * as fs from 'node:fs';
import { deserialize, serialize } from 'node:v8';
import { assert } from '@liveupdate/base';
import { MappedRam } from '@liveupdate/linux';

/** Bytes copied by one call: large enough that the call costs nothing beside the copy. */
const CHUNK = 64 * 2 ** 20;

/**
 * Largest target of a copy: beyond that, all is copied to the same place again and again, which no
 * cache notices.
 */
const MOST_TARGET = 2 ** 30;

/** Memory to copy `size` bytes to, mapped and touched. */
export function copyTarget(size: number): MappedRam {
  const target = MappedRam.anonymous({ name: 'liveupdate-bench-copy', size: Math.min(size, MOST_TARGET) });
  target.system.populate(0, target.size);
  return target;
}

/** Copies `source`, and nothing else: both are mapped and touched before. */
export function copyTo(target: MappedRam, source: Uint8Array): void {
  const to = target.bytes(0, target.size);
  for (let at = 0; at < source.length; at += CHUNK)
    to.set(source.subarray(at, Math.min(at + CHUNK, source.length)), at % to.length);
}

/** Bytes that are copied to see what the machine can do: more than its caches hold. */
const CALIBRATION = 2 ** 28;
const CALIBRATIONS = 5;

/** The best rate at which this machine copies memory that is there, in GiB a second. */
export async function bestCopyRate(): Promise<number> {
  using source = copyTarget(CALIBRATION);
  using target = copyTarget(CALIBRATION);
  const bytes = source.bytes(0, CALIBRATION);
  let best = Infinity;
  for (let i = 0; i < CALIBRATIONS; i++) {
    const time = await timed(() => {
      copyTo(target, bytes);
    });
    best = Math.min(best, time);
  }
  return CALIBRATION / 2 ** 30 / (best / 1000);
}

/** Writes what the memfd handler's folio array holds, 16 bytes per folio, and does nothing else. */
export function writeRecords(target: MappedRam, folios: number, folioSize: number): void {
  const bytes = target.bytes(0, folios * 16);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, folios * 4);
  const pages = folioSize / 4096;
  const flags = 3 << 20; // dirty and up to date: bits 52 and 53
  for (let i = 0, at = 0, page = 0; i < folios; i++, at += 4, page += pages) {
    words[at] = page;
    words[at + 1] = flags;
    words[at + 2] = page;
    words[at + 3] = 0;
  }
}

/** Milliseconds of a call. */
export async function timed(call: () => unknown): Promise<number> {
  const start = process.hrtime.bigint();
  await call();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

/**
 * Writes `source` to a file and reads it back to where it came from, which is touched: no program
 * that restarts has it that good.
 */
export function throughFile(path: string, source: Uint8Array): void {
  const fd = fs.openSync(path, 'wx+', 0o600);
  try {
    for (let at = 0; at < source.length;)
      at += fs.writeSync(fd, source, at, Math.min(CHUNK, source.length - at), at);
    for (let at = 0; at < source.length;)
      at += fs.readSync(fd, source, at, Math.min(CHUNK, source.length - at), at);
  } finally {
    fs.closeSync(fd);
    fs.unlinkSync(path);
  }
}

/**
 * The same by v8.serialize and v8.deserialize, 64 MiB at a time (as one value it would need twice
 * the memory); nothing is copied back.
 */
export function throughSerialize(path: string, source: Uint8Array): void {
  const fd = fs.openSync(path, 'wx+', 0o600);
  try {
    const lengths: number[] = [];
    for (let at = 0; at < source.length; at += CHUNK) {
      const value = serialize(source.subarray(at, Math.min(at + CHUNK, source.length)));
      for (let done = 0; done < value.length;) done += fs.writeSync(fd, value, done);
      lengths.push(value.length);
    }
    let position = 0;
    for (const length of lengths) {
      const value = Buffer.allocUnsafe(length);
      for (let done = 0; done < length;) {
        const read = fs.readSync(fd, value, done, length - done, position);
        done += read;
        position += read;
      }
      const { byteLength } = deserialize(value) as Uint8Array;
      assert(byteLength <= CHUNK, 'what was serialised comes back');
    }
  } finally {
    fs.closeSync(fd);
    fs.unlinkSync(path);
  }
}
