/**
 * Where memory can be mapped, and where not: asked before anything is touched, so that a runtime
 * that cannot says so in one sentence.
 *
 * Deno and Bun have names of Node's modules, and descriptors and buffers of their own: what native
 * code makes is not known to them, or ends in another way.
 */
import { KernelError } from '@liveupdate/base';

/** What a process tells of where it runs. */
export interface Runtime {
  readonly platform: string;
  readonly arch: string;
  readonly versions: Readonly<Record<string, string | undefined>>;
}

/**
 * Checks that this runtime can map memory and replace itself.
 *
 * @throws KernelError EOPNOTSUPP: it cannot; the message says what is needed, and what this is
 */
export function checkRuntime(): void {
  const why = whyUnsupported(process);
  if (why !== undefined) throw new KernelError('EOPNOTSUPP', why);
}

/** One sentence; undefined where all is well. */
export function whyUnsupported({ platform, arch, versions }: Runtime): string | undefined {
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64'))
    return `mapped memory needs Linux on x64 or arm64, this is ${platform} on ${arch}: use a HeapRam here`;
  const { deno, bun, node = '0' } = versions;
  if (deno === undefined && bun === undefined && isNewEnough(node)) return undefined;
  const here = deno !== undefined ? `Deno ${deno}` : bun !== undefined ? `Bun ${bun}` : `Node.js ${node}`;
  return `mapped memory needs Node.js 22.15, 23.11 or newer, this is ${here}: start it with such a Node.js`;
}

/** The versions that have `process.execve`, and with it all else that is needed. */
function isNewEnough(version: string): boolean {
  const [major, minor = 0] = version.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 11) || (major === 22 && minor >= 15);
}
