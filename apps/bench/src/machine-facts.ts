/** What a figure means depends on where it was measured. */
import { execFileSync } from 'node:child_process';
import * as os from 'node:os';
import { hostFacts } from '@liveupdate/linux';

export interface MachineFacts {
  readonly arch: string;
  readonly cpu: string;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  readonly kernel: string;
  readonly node: string;
  /** Settings for transparent huge pages: of the host's own pages under RAM, not of a file's folios. */
  readonly hugePages: { readonly enabled: string | undefined; readonly shmemEnabled: string | undefined };
}

export function machineFacts(): MachineFacts {
  const { arch, kernel, node, hugePages } = hostFacts();
  const cpus = os.cpus();
  return {
    arch,
    cpu: cpus.at(0)?.model.trim() ?? 'unknown',
    cpus: cpus.length,
    memory: os.totalmem(),
    kernel: kernel ?? 'unknown',
    node: node.version,
    hugePages,
  };
}

/** Load of the last minute. */
export function load(): number {
  return os.loadavg()[0];
}

/** The commit of the checkout in `directory`, with '+' where tracked files differ from it. */
export function commitOf(directory: string): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: directory, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    const commit = git('rev-parse', '--short=12', 'HEAD').trim();
    return git('status', '--porcelain', '--untracked-files=no') === '' ? commit : `${commit}+`;
  } catch {
    return undefined;
  }
}
