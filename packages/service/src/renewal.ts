/**
 * A supervisor is replaced by another version of itself, with the same pid, while the service runs:
 * what the one leaves to the other. Descriptors are named by their numbers.
 */
import { execFile } from 'node:child_process';
import { checkObject, KernelError } from '@liveupdate/base';
import { duplicateFrom, setClosesOnExec } from '@liveupdate/linux';
import type { LeftChild } from './child.ts';
import { packJson, unpackJson, type Packed } from './parcel.ts';

const fs = process.getBuiltinModule('node:fs');

/** How it is left. A supervisor that knows another one only is not let in: see `tryOut`. */
export const RENEWAL_FORMAT: number = 1;

/** Environment variable by which a supervisor learns that it replaced another. */
const RENEWAL_VARIABLE = 'LIVEUPDATE_RENEWAL_FD';
/** Node.js leaves descriptors from here on alone at its start. */
const LEAST_FD = 64;
/** Milliseconds that the new version may take to say whether it could. */
const TRIAL_LIMIT = 60_000;

/** All that a supervisor knows. */
export interface LeftSupervisor {
  /** RENEWAL_FORMAT of who left it. */
  readonly format: number;
  readonly name: string;
  /** What the program calls itself. */
  readonly calls: string | undefined;
  readonly child: LeftChild;
  readonly good: readonly string[] | undefined;
  readonly counts: {
    readonly upgrades: number;
    readonly crashes: number;
    readonly inARow: number;
    readonly renewals: number;
  };
  readonly listeners: readonly { readonly key: string; readonly fd: number }[];
  readonly memory: number | undefined;
  /** Where questions come in. */
  readonly control: number;
  /** Who asked for it, and waits for an answer. */
  readonly asks: number | undefined;
}

/**
 * Packs it for the program that replaces this one, by descriptors that are duplicates.
 *
 * @throws KernelError EMFILE: too many open files. ENOMEM: no memory
 */
export function packSupervisor(left: LeftSupervisor): Packed {
  const fds: number[] = [];
  const duplicate = <T extends number | undefined>(fd: T): T => {
    if (fd === undefined) return fd;
    const other = duplicateFrom(fd, LEAST_FD);
    fds.push(other);
    return other as T;
  };
  const closeAll = (): void => {
    for (const fd of fds) fs.closeSync(fd);
  };
  try {
    const { channel } = left.child;
    const renamed: LeftSupervisor = {
      ...left,
      child: {
        ...left.child,
        channel: {
          ...channel,
          stream: duplicate(channel.stream),
          packets: duplicate(channel.packets),
        },
      },
      listeners: left.listeners.map(({ key, fd }) => ({ key, fd: duplicate(fd) })),
      memory: duplicate(left.memory),
      control: duplicate(left.control),
      asks: duplicate(left.asks),
    };
    const packed = packJson(RENEWAL_VARIABLE, renamed, fds);
    return {
      ...packed,
      discard: () => {
        packed.discard();
        closeAll();
      },
    };
  } catch (error) {
    closeAll();
    throw error;
  }
}

/**
 * What the supervisor left that this process was before; undefined where it was none. The variable
 * that tells of it is deleted.
 *
 * @throws KernelError EINVAL: the variable is another program's. EBADF: no such descriptor
 */
export function leftSupervisor(
  env: Record<string, string | undefined> = process.env,
): LeftSupervisor | undefined {
  checkObject(env, 'an environment');
  const left = unpackJson(RENEWAL_VARIABLE, env) as LeftSupervisor | undefined;
  if (!left) return undefined;
  const { child, listeners, memory, control, asks } = left;
  const { stream, packets } = child.channel;
  const all = [...listeners.map(({ fd }) => fd), stream, packets, memory, control, asks];
  for (const fd of all) if (fd !== undefined) setClosesOnExec(fd, true);
  return left;
}

/**
 * Starts a program that says by its exit code whether it could replace this one.
 *
 * @param signal ends it
 * @param started is told its number
 * @throws KernelError EIO: it says that it could not, or nothing
 */
export async function tryOut(
  [file, ...args]: readonly string[],
  signal: AbortSignal,
  started: (pid: number | undefined) => void,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const { pid } = execFile(
      file,
      args,
      { timeout: TRIAL_LIMIT, killSignal: 'SIGKILL', signal },
      (error, _, stderr) => {
        const lines = stderr.trim().split('\n');
        const why = lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1) ?? '';
        if (error)
          reject(
            new KernelError(
              'EIO',
              `the new version could not take over: ${why === '' ? error.message : why}`,
            ),
          );
        else resolve();
      },
    );
    started(pid);
  });
}
