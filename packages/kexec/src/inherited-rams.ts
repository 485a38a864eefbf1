/**
 * RAMs that the generation before passed on by their descriptors, in one environment variable that
 * tells of each which it is. All are taken over by the first `Machine.open`: from then on no child
 * process gets them. Each waits, locked as it came, until the open that asks for it, or for the
 * next generation.
 */
import { KernelError } from '@liveupdate/base';
import { isMainThread, isOpen, MappedRam, setClosesOnExec } from '@liveupdate/linux';
import { ExecFdStore, LEAST_KEY } from './exec-fd-store.ts';

const fs = process.getBuiltinModule('node:fs');

/** Descriptors that one process may have at the very most (fs.nr_open). */
const MOST_FDS = 2 ** 20;

/** Environment variable by which a replaced process learns the descriptors of its RAMs. */
export const RAM_FD_VARIABLE = 'LIVEUPDATE_RAM_FD';

/** A RAM on its way from one generation to the next. */
export interface PassedRam {
  readonly fd: number;
  /** Where it can be opened by others. */
  readonly path?: string | undefined;
  /** The descriptor by which it was opened first: who passes that number means this RAM. */
  readonly as?: number | undefined;
  /** Descriptors that its handlers kept. */
  readonly keeps?: readonly number[];
}

/** The descriptors by which it goes: its own, and those that go along. */
export function fdsOf({ fd, keeps = [] }: PassedRam): number[] {
  return [fd, ...keeps];
}

/** A RAM that came, with the store of what came along. */
export interface WaitingRam extends PassedRam {
  readonly fds: ExecFdStore;
}

/** As the variable has it, which is at most 128 KiB: numbers in a row are one entry. */
interface PassedText extends Omit<PassedRam, 'keeps'> {
  /** First numbers of rows, each followed by how many there are. */
  readonly keeps?: readonly number[];
}

/**
 * What the generation before passed on and nobody has asked for yet: the descriptors are the
 * process's.
 */
const waiting: WaitingRam[] = [];

/** The variable that tells of `rams`. */
export function passedVariable(rams: readonly PassedRam[]): Record<string, string> {
  return { [RAM_FD_VARIABLE]: JSON.stringify(rams.map(toText)) };
}

/**
 * Takes over what was passed on. A second call does nothing.
 *
 * @throws KernelError EINVAL: the variable is another program's. EBADF: no such descriptor is open
 */
export function adoptPassedRams(env: Record<string, string | undefined> = process.env): void {
  const text = env[RAM_FD_VARIABLE];
  if (text === undefined || text === '') return;
  const rams = parsePassed(text);
  if (!isMainThread()) return; // worker threads have copies of the environment, and no part in a kexec
  for (const { fd } of rams) {
    if (isOpen(fd)) continue;
    const what = `${RAM_FD_VARIABLE} names descriptor ${fd}, which is not open`;
    throw new KernelError('EBADF', `${what}: unset it, if it came from another process`);
  }
  for (const fd of rams.flatMap(fdsOf)) if (isOpen(fd)) setClosesOnExec(fd, true);
  Reflect.deleteProperty(env, RAM_FD_VARIABLE);
  waiting.push(...rams.map((ram) => ({ ...ram, fds: new ExecFdStore(ram.keeps ?? []) })));
}

/** What nobody has asked for yet, with what is still there of what came along. */
export function waitingRams(): PassedRam[] {
  return waiting.map(({ fd, path, as, fds }) => ({ fd, path, as, keeps: fds.incoming }));
}

/** What a machine that was abandoned leaves to who opens its RAM next in this process. */
const left = new Map<string, ExecFdStore>();

/** Leaves descriptors to who opens the RAM at a path next; undefined: they are somebody's now. */
export function leaveFds(path: string, fds: ExecFdStore | undefined): void {
  if (fds) left.set(path, fds);
  else left.delete(path);
}

/** What was left there. */
export function leftFds(path: string): ExecFdStore | undefined {
  return left.get(path);
}

/** The RAM is somebody's now, who has its descriptor. */
export function claimPassed({ fd }: PassedRam): void {
  const at = waiting.findIndex((ram) => ram.fd === fd);
  if (at >= 0) waiting.splice(at, 1);
}

/**
 * The RAM among those that wait that is asked for: by the file at a path, by the descriptor that it
 * was opened by, or without either the first that has neither.
 */
export function findPassed({
  path,
  fd,
}: {
  path: string | undefined;
  fd: number | undefined;
}): WaitingRam | undefined {
  if (path !== undefined) return waiting.find((ram) => MappedRam.isOpenOn(ram.fd, path));
  if (fd === undefined) return waiting.find((ram) => ram.path === undefined && ram.as === undefined);
  return waiting.find((ram) => ram.as === fd) ?? waiting.find((ram) => isSameFile(ram.fd, fd));
}

/** False where one of them is not open. */
function isSameFile(one: number, other: number): boolean {
  if (!isOpen(other)) return false;
  const [a, b] = [fs.fstatSync(one), fs.fstatSync(other)];
  return a.dev === b.dev && a.ino === b.ino;
}

/**
 * What the variable tells of. Versions before this one passed a number alone.
 *
 * @throws KernelError EINVAL: it is another program's
 */
export function parsePassed(text: string): PassedRam[] {
  if (/^\d{1,9}$/.test(text)) return [{ fd: Number(text) }];
  let rams: unknown;
  try {
    rams = JSON.parse(text);
  } catch {
    rams = undefined;
  }
  if (Array.isArray(rams) && rams.every(isPassedText)) return rams.map(fromText);
  throw new KernelError(
    'EINVAL',
    `${RAM_FD_VARIABLE}='${text.slice(0, 100)}' tells of no descriptors: unset it`,
  );
}

function toText({ keeps = [], ...ram }: PassedRam): PassedText {
  if (keeps.length === 0) return ram;
  const rows: number[] = [];
  for (const fd of keeps.toSorted((a, b) => a - b)) {
    const last = rows.length - 2;
    if (last >= 0 && rows[last] + rows[last + 1] === fd) rows[last + 1] += 1;
    else rows.push(fd, 1);
  }
  return { ...ram, keeps: rows };
}

function fromText({ keeps: rows = [], ...ram }: PassedText): PassedRam {
  const keeps: number[] = [];
  for (let i = 0; i < rows.length; i += 2)
    for (let fd = rows[i]; fd < rows[i] + rows[i + 1]; fd++) keeps.push(fd);
  return { ...ram, keeps };
}

function isPassedText(ram: unknown): ram is PassedText {
  if (typeof ram !== 'object' || ram === null) return false;
  const { fd, path, as, keeps = [] } = ram as Partial<Record<keyof PassedRam, unknown>>;
  const isFd = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
  if (!isFd(fd) || (path !== undefined && typeof path !== 'string')) return false;
  if (!(as === undefined || isFd(as)) || !Array.isArray(keeps) || keeps.length % 2 !== 0) return false;
  // In ascending order, and none of those that a program has from its start.
  let next = LEAST_KEY;
  for (let i = 0; i < keeps.length; i += 2) {
    const [first, count] = [keeps[i] as unknown, keeps[i + 1] as unknown];
    if (!isFd(first) || !isFd(count) || (first as number) < next || (count as number) > MOST_FDS)
      return false;
    next = (first as number) + (count as number);
  }
  return true;
}
