/**
 * A RAM that is ours to boot: its file is locked, its boot page read, its size decided. What is
 * changed for a boot (a size) is put back where the boot does not come about.
 *
 * A file in which nobody ever wrote anything counts as new: a first owner of an older version may
 * have died in it.
 */
import { codeOf, formatSize, KernelError, type Undo } from '@liveupdate/base';
import { tryLock, type RamFile } from '@liveupdate/linux';
import { readBootPage, type BootPage } from './boot-page.ts';
import { findRam, type FoundRam, type RamSource } from './ram-source.ts';

export interface ClaimedRam extends FoundRam {
  /** What the last owner left; undefined in a new RAM. */
  readonly before: BootPage | undefined;
  /** Bytes of RAM from now on. */
  readonly size: number;
}

/**
 * Finds a RAM and takes the lock. Nothing in it is changed.
 *
 * @returns undefined where the file was removed in between: try again
 * @throws KernelError EBUSY: another process owns it. EINVAL: no RAM of liveupdate, of another
 * version, damaged, cut short, or larger than the size asked for. Others as findRam.
 */
export function claimRam(source: RamSource, undo: Undo): ClaimedRam | undefined {
  const found = findRam(source);
  const { file, path, isNew, wanted } = found;
  undo.add(() => {
    file.close();
  });
  if (!tryLock(file.fd)) throw new KernelError('EBUSY', busyMessage(file));
  if (!isNew && path !== undefined && !file.isAt(path)) return undefined;
  return readClaimed(found, wanted);
}

/** A RAM that is locked, and what its last owner left. @throws KernelError as claimRam */
export function readClaimed(found: FoundRam, wanted: number | undefined): ClaimedRam {
  const before = found.isNew ? undefined : whatIsLeft(found.file, wanted);
  return { ...found, before, size: sizeOf(found.file, before, wanted) };
}

/** What the boot page says; undefined where the file is as good as new. */
function whatIsLeft(file: RamFile, wanted: number | undefined): BootPage | undefined {
  const { size } = file;
  if (size === 0) {
    if (wanted !== undefined) return undefined;
    throw new KernelError(
      'ENOENT',
      `${file.what} is empty, there is no RAM in it yet: give a size (such as 2GiB) to make it`,
    );
  }
  const firstPage = file.firstPage();
  if (firstPage.some((byte) => byte !== 0)) return readBootPage(firstPage, size);
  file.checkSize();
  if (file.isBlank()) return undefined;
  throw new KernelError(
    'EINVAL',
    `${file.what} has no boot page, and content behind its first page: it is no RAM of liveupdate, or damaged; if nothing in it is needed, remove it`,
  );
}

function sizeOf(file: RamFile, before: BootPage | undefined, wanted: number | undefined): number {
  const has = before?.ramSize;
  if (has === undefined) return wanted ?? file.checkSize();
  if (wanted === undefined || wanted >= has) return wanted ?? has;
  throw new KernelError(
    'EINVAL',
    `this RAM has ${has} bytes (${formatSize(has)}) and cannot be made smaller (${wanted} bytes): give that size, or none`,
  );
}

/**
 * Makes the file as long as the RAM will be, and takes the memory of a new one's boot page. What
 * lies behind the old end was left by somebody who was to become the owner and did not: it is given
 * up first.
 *
 * @returns puts the size back
 * @throws KernelError EPERM: the size is sealed. EFBIG, EINVAL: no file can have it here. ENOSPC,
 * ENOMEM: no room.
 */
export function makeRoom({ file, before, size }: ClaimedRam): () => void {
  const had = before?.ramSize ?? file.size;
  let isChanged = false;
  const putBack = (): void => {
    if (isChanged) file.resize(had);
    isChanged = false;
  };
  try {
    if (size !== had) {
      if (file.size !== had) file.resize(had);
      file.resize(size);
      isChanged = true;
    }
    if (!before) file.reserveFirstPage();
    return putBack;
  } catch (error) {
    putBack();
    throw error;
  }
}

/** Gives up what lies behind the end of a RAM. A sealed file keeps it. */
export function cutTo(file: RamFile, size: number): void {
  if (file.size <= size) return;
  try {
    file.resize(size);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') throw error;
  }
}

/** Who has the lock. */
export function busyMessage(file: RamFile): string {
  try {
    const { state, ownerPid } = readBootPage(file.firstPage(), file.size);
    if (state !== 'running')
      return 'another process is at work on this RAM, or just takes it over: try again';
    return `process ${ownerPid} owns this RAM: wait until it has handed over, or ended`;
  } catch {
    return 'another process owns this RAM and is just making it: try again';
  }
}
