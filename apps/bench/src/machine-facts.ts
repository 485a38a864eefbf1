/** What a figure means depends on where it was measured. */
import { execFileSync } from 'node:child_process';
import * as os from 'node:os';
import { hostFacts } from '@liveupdate/linux';
import { PATIENCE } from './patience.ts';
import { redisVersion } from './redis.ts';

export interface MachineFacts {
  readonly arch: string;
  readonly cpu: string;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Bytes that trials may take together: what was free at the start, less a reserve. */
  readonly room: number;
  readonly kernel: string;
  readonly node: string;
  /**
   * Settings for transparent huge pages: of the host's own pages under RAM, not of a file's folios.
   */
  readonly hugePages: { readonly enabled: string | undefined; readonly shmemEnabled: string | undefined };
  /** Huge pages in the host's pool. */
  readonly hugetlb: number;
  /** Version of the Redis server; undefined where there is none. */
  readonly redis: string | undefined;
}

/** What is left to the rest of the machine. */
const RESERVE = 2 ** 30;

export function machineFacts(): MachineFacts {
  const { arch, kernel, node, hugePages, hugetlb, memory, cgroupMemoryMax, shm } = hostFacts();
  const cpus = os.cpus();
  const limits = [memory.available ?? os.freemem(), cgroupMemoryMax, shm?.free];
  return {
    arch,
    cpu: cpus.at(0)?.model.trim() ?? 'unknown',
    cpus: cpus.length,
    memory: os.totalmem(),
    room: Math.max(0, Math.min(...limits.filter((limit) => limit !== undefined)) - RESERVE),
    kernel: kernel ?? 'unknown',
    node: node.version,
    hugePages,
    hugetlb: hugetlb.total ?? 0,
    redis: redisVersion(),
  };
}

/** Load of the last minute. */
export function load(): number {
  return os.loadavg()[0];
}

/** The commit of the checkout in `directory`, with '+' where tracked files differ from it. */
export function commitOf(directory: string): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync('git', args, {
      cwd: directory,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: PATIENCE.question,
    });
  try {
    git('ls-files', '--error-unmatch', 'package.json'); // installed somewhere, it is no part of the repository around it
    const commit = git('rev-parse', '--short=12', 'HEAD').trim();
    return git('status', '--porcelain', '--untracked-files=no') === '' ? commit : `${commit}+`;
  } catch {
    return undefined;
  }
}
