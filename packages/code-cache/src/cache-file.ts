/**
 * The file that compiled code is kept in: a header, the source that it was made of, the code twice.
 * Written beside its place and renamed, so that a reader finds all of it or the one before.
 *
 * V8 trusts the code: a wrong byte in it ends the process. Both copies must be the same, since a
 * disk may lose what it said it had written; a checksum would do as well, but Node takes 3 ms to
 * load one.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';

/** What a file holds. */
export interface Cache {
  /** Runs of the program whose functions are in it. */
  readonly runs: number;
  readonly source: Buffer;
  readonly code: Buffer;
}

const MAGIC = Buffer.from('liveupdate code 1');
/** After the magic, each a u32: runs, bytes of source, bytes of code. */
const HEADER = MAGIC.length + 12;

const GROUP_OR_OTHERS_WRITE = 0o022;

/**
 * The cache in a file; undefined where there is none of this source, or where it is not to be
 * trusted.
 */
export function readCache(file: string, source: Buffer): Omit<Cache, 'source'> | undefined {
  const all = readOwn(file);
  if (!all || all.length < HEADER || !all.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const [runs, sourceBytes, codeBytes] = [0, 4, 8].map((at) => all.readUInt32LE(MAGIC.length + at));
  const codeAt = HEADER + sourceBytes;
  const copyAt = codeAt + codeBytes;
  if (all.length !== copyAt + codeBytes || !all.subarray(HEADER, codeAt).equals(source)) return undefined;
  const code = all.subarray(codeAt, copyAt);
  return code.equals(all.subarray(copyAt)) ? { runs, code } : undefined;
}

/** The bytes of a file that nobody else could have written. */
function readOwn(file: string): Buffer | undefined {
  let fd: number;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const stat = fs.fstatSync(fd);
    const isOurs = stat.uid === process.geteuid?.() && (stat.mode & GROUP_OR_OTHERS_WRITE) === 0;
    return stat.isFile() && isOurs ? fs.readFileSync(fd) : undefined;
  } catch {
    return undefined;
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Writes a cache, whose directory is made where there is none. Where it throws, the file is as
 * before, and nothing is left behind.
 *
 * @throws what Node says: ENOSPC, EACCES, EROFS, ENAMETOOLONG and others
 */
export function writeCache(file: string, { runs, source, code }: Cache): void {
  const header = Buffer.alloc(HEADER);
  MAGIC.copy(header);
  for (const [i, number] of [runs, source.length, code.length].entries())
    header.writeUInt32LE(number, MAGIC.length + 4 * i);
  const draft = `${file}.${process.pid}`;
  fs.mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  try {
    fs.rmSync(draft, { force: true }); // of a process of this number that was killed
    fs.writeFileSync(draft, Buffer.concat([header, source, code, code]), { mode: 0o600, flag: 'wx' });
    fs.renameSync(draft, file);
  } catch (error) {
    fs.rmSync(draft, { force: true });
    throw error;
  }
}
