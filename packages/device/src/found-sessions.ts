/**
 * Which sessions of this machine have a descriptor in some process: all that can be known without
 * the device. What is in a session the kernel tells nobody, and a session of the kernel before that
 * no process has retrieved shows nowhere.
 */
import * as fs from 'node:fs';
import { duplicateOfProcess } from '@liveupdate/linux';
import { DeviceSession } from './device-session.ts';

/** A process that holds a session. */
export interface SessionHolder {
  readonly pid: number;
  /** Its words, as it was started; nothing where that is hidden. */
  readonly command: readonly string[];
}

/** A session with a descriptor. */
export interface FoundSession {
  readonly name: string;
  /** For the kernel that comes, or of the one before; unknown where its holder is gone already. */
  readonly kind: 'outgoing' | 'incoming' | 'unknown';
  readonly holders: readonly SessionHolder[];
}

/** What a descriptor of a session is called in /proc; the session's name follows. */
const LINK = 'anon_inode:[luo_session] ';

/**
 * The sessions that processes hold, by name. A process that another user owns is seen by root
 * alone.
 *
 * @throws KernelError EOPNOTSUPP: this runtime cannot make system calls (`checkRuntime`)
 */
export function findSessions(): FoundSession[] {
  const found = new Map<string, { name: string; kind: FoundSession['kind']; holders: SessionHolder[] }>();
  for (const pid of listed('/proc').map(Number)) {
    if (!Number.isInteger(pid)) continue;
    for (const fd of listed(`/proc/${pid}/fd`)) {
      const link = linkAt(`/proc/${pid}/fd/${fd}`);
      if (link?.startsWith(LINK) !== true) continue;
      const { name, kind } = lookAt(pid, Number(fd), link.slice(LINK.length));
      const key = `${kind} ${name}`;
      const session = found.get(key) ?? { name, kind, holders: [] };
      found.set(key, session);
      if (session.holders.at(-1)?.pid !== pid) session.holders.push({ pid, command: commandOf(pid) });
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The kernel's own answers, by a duplicate that lives no longer than the question. */
function lookAt(pid: number, fd: number, name: string): Pick<FoundSession, 'name' | 'kind'> {
  try {
    using session = new DeviceSession(duplicateOfProcess(pid, fd));
    return { name: session.name, kind: session.kind };
  } catch {
    return { name, kind: 'unknown' };
  }
}

function listed(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return []; // the process is gone, or another's
  }
}

function linkAt(path: string): string | undefined {
  try {
    return fs.readlinkSync(path);
  } catch {
    return undefined;
  }
}

function commandOf(pid: number): string[] {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}
