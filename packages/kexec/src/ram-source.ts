/** Where a machine's RAM comes from: a name in /dev/shm, a path, a descriptor, or memory without a name that passes from process to process. */
import { KernelError, parseSize } from '@liveupdate/base';
import { inheritedFd, MappedRam } from '@liveupdate/linux';

/** Environment variable by which a replaced process learns the descriptor of its RAM. */
export const RAM_FD_VARIABLE = 'LIVEUPDATE_RAM_FD';

export interface RamSource {
  /** RAM in /dev/shm, under this name. */
  readonly name?: string;
  /** RAM in this file, on any file system that can be mapped: tmpfs, hugetlbfs. */
  readonly path?: string;
  /** RAM on this open descriptor, which then belongs to the machine. */
  readonly fd?: number;
  /**
   * Bytes, or text such as `'4GiB'`; needed where the RAM does not exist yet, not looked at where it does. A multiple of 4096. It is sparse: it costs
   * what is used.
   */
  readonly size?: number | string;
}

const MAX_NAME = 200;

/** Path of a RAM by name. @throws KernelError EINVAL: no such name */
export function ramPath(name: string): string {
  if (!/^[\w.-]+$/.test(name) || name.length > MAX_NAME || /^\.+$/.test(name)) {
    throw new KernelError(
      'EINVAL',
      `'${name}' is no name of a RAM: use letters, digits, '.', '_' and '-', at most ${MAX_NAME}`,
    );
  }
  return `/dev/shm/liveupdate.${name}`;
}

function pathOf(source: RamSource): string | undefined {
  if (source.path !== undefined) return source.path;
  return source.name === undefined ? undefined : ramPath(source.name);
}

/** The inherited descriptor, where it is the RAM that is asked for. It is used up: child processes do not see it. */
function inherited(path: string | undefined): MappedRam | undefined {
  const fd = inheritedFd(RAM_FD_VARIABLE);
  if (fd === undefined) return undefined;
  if (path !== undefined && !MappedRam.isOpenOn(fd, path)) return undefined;
  const ram = MappedRam.fromFd(fd);
  Reflect.deleteProperty(process.env, RAM_FD_VARIABLE);
  return ram;
}

/** An opened RAM; `isNew` where it was made just now. */
export interface OpenedRam {
  readonly ram: MappedRam;
  /** Where it can be opened by others; undefined for RAM without a name. */
  readonly path: string | undefined;
  readonly isNew: boolean;
}

/**
 * Opens or makes the RAM.
 *
 * @throws KernelError EINVAL: name, path and fd exclude each other, or no such size. ENOENT: there is no such RAM, and no size to make it
 * with. EPERM, EACCES: the file belongs to another user, or others may write to it. ENOSPC, ENOMEM: no room.
 */
export function openRam(source: RamSource): OpenedRam {
  const given = [source.name, source.path, source.fd].filter((value) => value !== undefined);
  if (given.length > 1) throw new KernelError('EINVAL', 'give one of name, path and fd');
  if (source.fd !== undefined) return { ram: MappedRam.fromFd(source.fd), path: undefined, isNew: false };
  const path = pathOf(source);
  const own = inherited(path);
  if (own) return { ram: own, path, isNew: false };
  const size = source.size === undefined ? undefined : parseSize(source.size);
  if (path === undefined) {
    if (size === undefined)
      throw new KernelError('EINVAL', "give the RAM's name, path or fd, or a size for one without a name");
    return { ram: MappedRam.anonymous({ name: 'liveupdate', size }), path, isNew: true };
  }
  if (!MappedRam.exists(path)) {
    if (size === undefined)
      throw new KernelError('ENOENT', `there is no RAM at ${path}: give a size (such as 2GiB) to make it`);
    return { ram: MappedRam.create({ path, size }), path, isNew: true };
  }
  return { ram: MappedRam.open({ path }), path, isNew: false };
}
