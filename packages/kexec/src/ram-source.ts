/**
 * Where a machine's RAM comes from: a name in /dev/shm, a path, a descriptor, or memory without a
 * name that passes from process to process.
 */
import { resolve } from 'node:path';
import { checkText, codeOf, KernelError, parseSize } from '@liveupdate/base';
import { LEAST_RAM_PAGES } from '@liveupdate/kho';
import { RamFile } from '@liveupdate/linux';
import { checkRamSize } from '@liveupdate/mm';
import { ExecFdStore } from './exec-fd-store.ts';
import { claimPassed, findPassed, leaveFds, leftFds, type PassedRam } from './inherited-rams.ts';

export interface RamSource {
  /** RAM in /dev/shm, under this name. */
  readonly name?: string;
  /** RAM in this file, on any file system that can be mapped: tmpfs, hugetlbfs. */
  readonly path?: string;
  /**
   * RAM on this open descriptor, which then belongs to the machine: it is opened anew, for a lock
   * that whoever else has the descriptor does not share, and closed. The next generation of this
   * process opens it by the same number, whatever that stands for by then.
   */
  readonly fd?: number;
  /**
   * Bytes, or text such as `'4GiB'`: a multiple of 4096, at most 16 TiB. RAM is sparse: it costs
   * what is used.
   *
   * Needed where the RAM does not exist yet. One that exists is enlarged to this size, with
   * everything in it, and for good when this generation becomes its owner; it cannot be made
   * smaller.
   */
  readonly size?: number | string;
}

const fs = process.getBuiltinModule('node:fs');

const MAX_NAME = 200;

/** Path of a RAM by name. @throws KernelError EINVAL: no such name */
export function ramPath(name: string): string {
  checkText(name, 'a name of a RAM');
  if (!/^[\w.-]+$/.test(name) || name.length > MAX_NAME || /^\.+$/.test(name)) {
    throw new KernelError(
      'EINVAL',
      `'${name}' is no name of a RAM: use letters, digits, '.', '_' and '-', at most ${MAX_NAME}`,
    );
  }
  return `/dev/shm/liveupdate.${name}`;
}

/** Absolute, since the working directory may be another when the RAM is handed over. */
function pathOf(source: RamSource): string | undefined {
  if (source.path !== undefined) return resolve(source.path);
  return source.name === undefined ? undefined : ramPath(source.name);
}

/** The file of a RAM, found or made. */
export interface FoundRam {
  readonly file: RamFile;
  /** Where it can be opened by others, or will be; undefined for RAM without a name. */
  readonly path: string | undefined;
  /** Made just now; where it has a path, it is not there yet. */
  readonly isNew: boolean;
  /** The size that was asked for, in bytes. */
  readonly wanted: number | undefined;
  /** The descriptor by which it was asked for. */
  readonly as: number | undefined;
  /** Holds the descriptors that came along with it. */
  readonly fds: ExecFdStore;
  /** The machine runs: the descriptor is its own from now on. */
  keep(): void;
}

type Kept = [file: RamFile, isNew: false, keep: () => void];

/** A RAM of the generation before: its descriptor carries the lock. Not kept, it waits on. */
function passedFile(passed: PassedRam, given: number | undefined): Kept {
  const file = RamFile.borrow(passed.fd);
  const keep = (): void => {
    file.keep();
    claimPassed(passed);
    if (given !== undefined && passed.as !== given) fs.closeSync(given);
  };
  return [file, false, keep];
}

/**
 * A file on a descriptor that somebody gave us: opened anew, for a lock is its open file
 * description's, and who else has that one would have the lock too.
 */
function givenFile(fd: number): Kept {
  const file = RamFile.reopen(fd);
  const keep = (): void => {
    file.keep();
  };
  return [file, false, keep];
}

function wantedSize({ size }: RamSource): number | undefined {
  if (size === undefined) return undefined;
  const wanted = parseSize(size);
  checkRamSize(wanted, LEAST_RAM_PAGES);
  return wanted;
}

function openExisting(path: string): RamFile | undefined {
  try {
    return RamFile.open(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    return undefined;
  }
}

/**
 * Opens the file of a RAM that somebody has, for when it is taken over.
 *
 * @throws KernelError as findRam. ENOENT: there is no such RAM
 */
export function findExisting({ size, ...source }: RamSource): FoundRam {
  const found = findRam(source);
  return { ...found, wanted: wantedSize(size === undefined ? {} : { size }) };
}

/**
 * Opens the RAM's file, or makes one. Nothing in it is looked at or changed.
 *
 * @throws KernelError EINVAL: name, path and fd exclude each other, or no such size. ENOENT: there
 * is no such RAM, and no size to make it with. EPERM, EACCES: the file belongs to another user, or
 * others may write to it. ENOSPC, ENOMEM: no room.
 */
export function findRam(source: RamSource): FoundRam {
  const given = [source.name, source.path, source.fd].filter((value) => value !== undefined);
  if (given.length > 1) throw new KernelError('EINVAL', 'give one of name, path and fd');
  const wanted = wantedSize(source);
  const path = pathOf(source);
  const { fd: as } = source;
  const passed = findPassed({ path, fd: as });
  const came = passed?.fds ?? (path === undefined ? undefined : leftFds(path));
  const fds = came ?? new ExecFdStore([]);
  const found = (file: RamFile, isNew: boolean, keep = (): void => undefined): FoundRam => {
    return { file, path, isNew, wanted, as, fds, keep };
  };
  if (passed) return found(...passedFile(passed, as));
  if (as !== undefined) return found(...givenFile(as));
  if (path === undefined) {
    if (wanted === undefined)
      throw new KernelError('EINVAL', "give the RAM's name, path or fd, or a size for one without a name");
    return found(RamFile.memory({ name: 'liveupdate', size: wanted }), true);
  }
  const existing = openExisting(path);
  if (existing)
    return found(existing, false, () => {
      leaveFds(path, undefined);
    });
  if (wanted === undefined)
    throw new KernelError('ENOENT', `there is no RAM at ${path}: give a size (such as 2GiB) to make it`);
  return found(RamFile.create({ path, size: wanted }), true);
}
