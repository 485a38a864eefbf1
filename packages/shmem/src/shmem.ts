/**
 * A shmem mount: it makes in-memory files, accounts for their pages and holds the policy for large
 * folios (kernel: a tmpfs mount).
 */
import { byteLength, checkText, checkWhole, KernelError } from '@liveupdate/base';
import { ShmemInode } from './inode.ts';
import { ShmemMount } from './mount.ts';
import {
  MAX_MEMFD_NAME,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MFD_HUGETLB,
  MFD_NOEXEC_SEAL,
  SEAL_EXEC,
  SEAL_SEAL,
} from './seals.ts';
import { ShmemFile } from './shmem-file.ts';

/** Bytes of a name in a directory. */
const MAX_NAME = 255;

export class Shmem extends ShmemMount {
  readonly #names = new Map<string, ShmemInode>();

  /**
   * A new, empty file without a name in any directory, open for reading and writing.
   *
   * @param name for people: at most 249 bytes, need not be unique
   * @param flags MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL, MFD_EXEC
   * @throws KernelError EINVAL: no name, or one too long, unknown flags, or NOEXEC_SEAL together
   * with EXEC. EOPNOTSUPP: MFD_HUGETLB. EBADF: the mount has ended.
   */
  memfdCreate(name: string, flags = MFD_CLOEXEC): ShmemFile {
    this.checkLive();
    if (byteLength(checkText(name, 'a name')) > MAX_MEMFD_NAME)
      throw new KernelError('EINVAL', `a memfd's name has at most ${MAX_MEMFD_NAME} bytes`);
    checkWhole(flags, 'flags of a memfd');
    const known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_NOEXEC_SEAL | MFD_EXEC;
    if ((flags & known) !== flags)
      throw new KernelError('EINVAL', `unknown memfd flags in 0x${flags.toString(16)}`);
    if ((flags & MFD_NOEXEC_SEAL) !== 0 && (flags & MFD_EXEC) !== 0)
      throw new KernelError('EINVAL', 'MFD_NOEXEC_SEAL and MFD_EXEC exclude each other');
    if ((flags & MFD_HUGETLB) !== 0)
      throw new KernelError(
        'EOPNOTSUPP',
        'hugetlb files are not offered: call adviseHuge() on an ordinary file',
      );
    let seals = (flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL)) === 0 ? SEAL_SEAL : 0;
    if ((flags & MFD_NOEXEC_SEAL) !== 0) seals |= SEAL_EXEC;
    return new ShmemFile(new ShmemInode(this, name, seals));
  }

  // ---- Files with names: one directory, as deep as a mount of ours gets -------------------------

  /**
   * A new, empty file with a name, open for reading and writing. A name keeps the file until it is
   * taken away.
   *
   * @param name up to 255 bytes, without '/' and NUL
   * @throws KernelError EEXIST: the name is taken. ENAMETOOLONG. EINVAL: no name
   */
  create(name: string): ShmemFile {
    this.#checkName(name);
    const inode = new ShmemInode(this, name, SEAL_SEAL);
    const file = new ShmemFile(inode);
    this.#addName(name, inode);
    return file;
  }

  /**
   * Opens a file by its name: a description of its own.
   *
   * @throws KernelError ENOENT: no such name. EINVAL: no text
   */
  open(name: string): ShmemFile {
    return new ShmemFile(this.#named(name));
  }

  /**
   * Gives a file that has a name another one.
   *
   * @throws KernelError EEXIST: the name is taken. ENOENT: no file of the old name. ENAMETOOLONG.
   * EINVAL: no name
   */
  link(existing: string, name: string): void {
    const inode = this.#named(existing);
    this.#checkName(name);
    this.#addName(name, inode);
  }

  /**
   * Takes a name away. Whoever has the file open keeps it; nobody, and it is freed.
   *
   * @throws KernelError ENOENT: no such name. EINVAL: no text
   */
  unlink(name: string): void {
    const inode = this.#named(name);
    this.#names.delete(name);
    inode.links -= 1;
    inode.put();
  }

  /** Names in the mount. */
  get names(): string[] {
    return [...this.#names.keys()];
  }

  #addName(name: string, inode: ShmemInode): void {
    this.#names.set(name, inode);
    inode.links += 1;
    inode.get();
  }

  #named(name: string): ShmemInode {
    this.checkLive();
    const inode = this.#names.get(checkText(name, 'a name of a file'));
    if (!inode) throw new KernelError('ENOENT', `there is no file '${name}'`);
    return inode;
  }

  #checkName(name: string): void {
    this.checkLive();
    checkText(name, 'a name of a file');
    if (name === '' || name === '.' || name === '..' || /[\0/]/.test(name))
      throw new KernelError('EINVAL', `'${name}' is no name of a file`);
    if (byteLength(name) > MAX_NAME)
      throw new KernelError('ENAMETOOLONG', `a file's name has at most ${MAX_NAME} bytes`);
    if (this.#names.has(name)) throw new KernelError('EEXIST', `there is a file '${name}' already`);
  }
}
