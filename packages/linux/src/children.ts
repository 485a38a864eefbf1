/**
 * Children that a process had when it was replaced. They are still its children, but the new
 * program has never heard of them: each that ends would stay a zombie.
 *
 * - Which they are is told by when they were started: before this program was (on the clock that
 *   /proc tells starts on). The environment carries that one moment, whatever their number.
 * - Children of the new program are never touched: libuv waits for those.
 * - A child that lives longer than this program is found by the next one in the same way.
 */
import { constants } from 'node:os';
import { checkFunction, checkObject, checkWhole } from '@liveupdate/base';
import { bootTimeNow, hasEnded, statusOfEnded } from './libc.ts';
import { fs } from './node-fs.ts';

/** Environment variable by which the new program learns when the old one was replaced. */
const REPLACED_AT_VARIABLE = 'LIVEUPDATE_REPLACED_AT';

/** How often the new program looks whether a child is over. */
const LOOK_MS = 500;

/** /proc counts in ticks of a hundredth of a second, on every machine (USER_HZ). */
const TICK_NS = 10_000_000n;

/** A process, told from any other that gets its number later. */
interface Child {
  readonly pid: number;
  /** When it was started, in ticks since the host booted. */
  readonly start: number;
}

/**
 * What the environment of a new program must have, that it collects the children that are there
 * now.
 */
export function childrenVariable(): Readonly<Record<string, string>> {
  return { [REPLACED_AT_VARIABLE]: String(bootTimeNow() / TICK_NS) };
}

/**
 * In a program that replaced another by `replaceProcess`: collects the children of that one as they
 * end, so that none is left a zombie. Their exit codes are lost. It does not keep this process
 * alive, and does nothing where there are none. The variable that tells of them is taken from
 * `env`.
 *
 * @throws KernelError EINVAL: no environment
 */
export function collectChildren(env: Record<string, string | undefined> = process.env): void {
  checkObject(env, 'an environment');
  const text = env[REPLACED_AT_VARIABLE];
  if (text === undefined) return;
  Reflect.deleteProperty(env, REPLACED_AT_VARIABLE);
  if (!/^\d{1,15}$/.test(text)) return;
  const replacedAt = Number(text);
  let left: Child[] | undefined;
  const look = setInterval(() => {
    left ??= childrenOf(process.pid).filter(({ start }) => start <= replacedAt);
    left = left.filter((child) => startOf(child.pid) === child.start && !hasEnded(child.pid));
    if (left.length === 0) clearInterval(look);
  }, LOOK_MS);
  look.unref();
}

/** How a process ended: by an exit code, or of a signal. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Above this no process has a number. */
const MOST_PID = 2 ** 22;
/** In what waitpid(2) tells: the signal, and where the exit code begins. */
const SIGNAL_BITS = 0x7f;
const CODE_SHIFT = 8;
const CODE_BITS = 0xff;

/**
 * Collects a child of this process that Node.js does not know: one that the program had started
 * that this one replaced. SIGCHLD tells when to ask.
 *
 * @returns how it ended; undefined while it runs. Neither code nor signal: it is no child of this
 * process, or somebody has collected it
 * @throws KernelError EINVAL: no number of a process
 */
export function collectChild(pid: number): ChildEnd | undefined {
  checkWhole(pid, 'the number of a process', { min: 1, max: MOST_PID });
  const status = statusOfEnded(pid);
  if (status === undefined) return undefined;
  if (status === null) return { code: null, signal: null };
  const number = status & SIGNAL_BITS;
  if (number === 0) return { code: (status >>> CODE_SHIFT) & CODE_BITS, signal: null };
  const found = Object.entries(constants.signals).find(([, each]) => each === number);
  return { code: null, signal: (found?.[0] ?? 'SIGKILL') as NodeJS.Signals };
}

/**
 * Collects processes as they end that became children of this one when their parents ended: for the
 * first process of a container (PID 1), where else each would stay a zombie.
 *
 * @param isWaitedFor whether somebody waits for this child: it is left alone. Asked for each child
 * that this process has, again and again
 * @throws KernelError EINVAL: no function
 */
export function collectOrphans(isWaitedFor: (pid: number) => boolean): void {
  checkFunction(isWaitedFor, 'what tells children that somebody waits for');
  const look = (): void => {
    for (const { pid } of childrenOf(process.pid)) if (!isWaitedFor(pid)) hasEnded(pid);
  };
  process.on('SIGCHLD', look);
  look();
}

/** The children of a process, those that have ended and were not collected too. */
function childrenOf(parent: number): Child[] {
  const children: Child[] = [];
  for (const pid of listed(parent) ?? scanned(parent)) {
    const start = startOf(pid);
    if (start !== undefined) children.push({ pid, start });
  }
  return children;
}

/**
 * @internal As the kernel lists them; undefined where it has no such list (CONFIG_PROC_CHILDREN).
 */
export function listed(parent: number): number[] | undefined {
  const tasks = `/proc/${parent}/task`;
  try {
    return fs.readdirSync(tasks).flatMap((task) => {
      const text = fs.readFileSync(`${tasks}/${task}/children`, 'latin1');
      return text.split(' ').filter(Boolean).map(Number);
    });
  } catch {
    return undefined; // or a thread has just ended: the other way is slower and always right
  }
}

/** @internal All processes of the host, asked for their parent. Nothing where there is no /proc. */
export function scanned(parent: number): number[] {
  try {
    const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.map(Number).filter((pid) => Number(statOf(pid)?.[PARENT]) === parent);
  } catch {
    return [];
  }
}

/** Fields of /proc/PID/stat behind the name, which is in brackets and may hold anything. */
const PARENT = 1;
const START = 19;

function statOf(pid: number): string[] | undefined {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined; // it has ended
  }
}

function startOf(pid: number): number | undefined {
  const start = statOf(pid)?.[START];
  return start === undefined ? undefined : Number(start);
}
