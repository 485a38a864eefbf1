/**
 * What this host offers, as data for whoever explains it to a person: nothing is printed, nothing
 * is changed, and what cannot be read is undefined. All of it can be read without privileges.
 */
import { join } from 'node:path';
import { checkOptions, codeOf, type ErrnoCode } from '@liveupdate/base';
import { fs } from './node-fs.ts';
import { callFs } from './call-fs.ts';
import { checkPath } from './inputs.ts';

/** Room of a file system. */
export interface Space {
  /** Bytes it can hold. */
  readonly size: number;
  /** Bytes that may still be taken by us. */
  readonly free: number;
}

/** A file system as /proc/self/mountinfo tells it. */
export interface Mount extends Space {
  readonly path: string;
  /** Such as `tmpfs`. */
  readonly type: string;
  /** The mount option huge=; `never` where it is not set. */
  readonly huge: string;
}

export interface HostFacts {
  readonly platform: string;
  readonly arch: string;
  /** Release of the running kernel, such as `6.12.0`. */
  readonly kernel: string | undefined;
  readonly node: {
    readonly version: string;
    readonly path: string;
    /** Whether it can replace itself (process.execve). */
    readonly execve: boolean;
  };
  /** Bytes. `available` is what the kernel thinks can be taken without swapping. */
  readonly memory: { readonly total: number | undefined; readonly available: number | undefined };
  /** Least memory.max of our cgroup (v2) and those above it; undefined where there is no limit. */
  readonly cgroupMemoryMax: number | undefined;
  /** /dev/shm; undefined where it is not a mount of its own. */
  readonly shm: Mount | undefined;
  /**
   * Transparent huge pages: `always`, `madvise`, `never`; for memfds `always`, `within_size`,
   * `advise`, `never`, `deny`, `force`.
   */
  readonly hugePages: { readonly enabled: string | undefined; readonly shmemEnabled: string | undefined };
  /** The pool of hugetlb pages of the default size, in pages; `pageSize` in bytes. */
  readonly hugetlb: {
    readonly total: number | undefined;
    readonly free: number | undefined;
    readonly pageSize: number | undefined;
  };
  readonly overcommit: 'heuristic' | 'always' | 'never' | undefined;
  /** Mappings a process may have: what limits the pieces of a gathered view. */
  readonly maxMapCount: number | undefined;
  /**
   * The kernel's own live update device: `open` (we can), or the code with which opening it fails;
   * ENOENT: this kernel has none.
   */
  readonly liveupdate: 'open' | ErrnoCode;
}

/**
 * Room of the file system that holds `path`, a file or a directory. RAM files may be larger, they
 * are sparse; touched memory may not.
 *
 * @throws KernelError ENOENT, ENOTDIR, EACCES: as statfs(2) has them. EINVAL: no path
 */
export function shmSpace(path: string): Space {
  checkPath(path);
  const { blocks, bavail, bsize } = callFs(`asking for the room at '${path}'`, () => fs.statfsSync(path));
  return { size: blocks * bsize, free: bavail * bsize };
}

/**
 * Facts about this host. `root` is for tests: the directory that stands for `/`.
 *
 * @throws KernelError EINVAL: no such option, or no path
 */
export function hostFacts(options: { root?: string } = {}): HostFacts {
  checkOptions(options, 'hostFacts', ['root']);
  const { root = '/' } = options;
  checkPath(root);
  const read = (path: string): string | undefined => {
    try {
      return fs.readFileSync(join(root, path), 'utf8').trim();
    } catch {
      return undefined;
    }
  };
  const meminfo = read('proc/meminfo') ?? '';
  const thp = 'sys/kernel/mm/transparent_hugepage';
  return {
    platform: process.platform,
    arch: process.arch,
    kernel: read('proc/sys/kernel/osrelease'),
    node: { version: process.versions.node, path: process.execPath, execve: 'execve' in process },
    memory: { total: kibibytes(meminfo, 'MemTotal'), available: kibibytes(meminfo, 'MemAvailable') },
    cgroupMemoryMax: cgroupMemoryMax(read),
    shm: shmMount(root, read('proc/self/mountinfo') ?? ''),
    hugePages: {
      enabled: chosen(read(`${thp}/enabled`)),
      shmemEnabled: chosen(read(`${thp}/shmem_enabled`)),
    },
    hugetlb: {
      total: count(meminfo, 'HugePages_Total'),
      free: count(meminfo, 'HugePages_Free'),
      pageSize: kibibytes(meminfo, 'Hugepagesize'),
    },
    overcommit: (['heuristic', 'always', 'never'] as const)[
      Number(read('proc/sys/vm/overcommit_memory') ?? Number.NaN)
    ],
    maxMapCount: wholeNumber(read('proc/sys/vm/max_map_count')),
    liveupdate: tryDevice(join(root, 'dev/liveupdate')),
  };
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** A line of /proc/meminfo without a unit. */
function count(meminfo: string, field: string): number | undefined {
  return wholeNumber(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1]);
}

/** A line of /proc/meminfo in kB, as bytes. */
function kibibytes(meminfo: string, field: string): number | undefined {
  const value = count(meminfo, field);
  return value === undefined ? undefined : value * 1024;
}

/** The word in brackets: `always [madvise] never`. */
function chosen(text: string | undefined): string | undefined {
  return /\[(\w+)\]/.exec(text ?? '')?.[1];
}

/**
 * The last mount on /dev/shm is the one in force. Fields: id, parent, device, root, mount point,
 * options ... - type, source, options.
 */
function shmMount(root: string, mountinfo: string): Mount | undefined {
  const line = mountinfo.split('\n').findLast((text) => text.split(' ')[4] === '/dev/shm');
  const fields = / - (\S+) \S+ (\S+)$/.exec(line ?? '');
  if (!fields) return undefined;
  const [, type, options] = fields;
  const path = join(root, 'dev/shm');
  try {
    return { path, type, huge: /(?:^|,)huge=(\w+)/.exec(options)?.[1] ?? 'never', ...shmSpace(path) };
  } catch {
    return undefined;
  }
}

/** The limit in force is the least on the way from our group to the root; `max` stands for none. */
function cgroupMemoryMax(read: (path: string) => string | undefined): number | undefined {
  const group = /^0::(\/.*)$/m.exec(read('proc/self/cgroup') ?? '')?.[1];
  if (group === undefined) return undefined;
  let least: number | undefined;
  for (let at = group; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) {
    const limit = wholeNumber(read(join('sys/fs/cgroup', at, 'memory.max')));
    if (limit !== undefined && (least === undefined || limit < least)) least = limit;
    if (at === '' || at === '/') return least;
  }
}

/** The device has one owner at a time: EBUSY says that someone works with it. */
function tryDevice(path: string): 'open' | ErrnoCode {
  try {
    fs.closeSync(fs.openSync(path, 'r+'));
    return 'open';
  } catch (error) {
    return codeOf(error);
  }
}
