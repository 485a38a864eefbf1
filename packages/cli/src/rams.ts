/** `liveupdate list` and `liveupdate remove`: the RAMs of this host, and the end of one. */
import * as fs from 'node:fs';
import { codeOf, formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { hasBootPage, readBootPage, type BootPage } from '@liveupdate/kexec';
import { MappedRam, tryLock } from '@liveupdate/linux';
import { FileSource } from './image-source.ts';
import { leftInRecord } from './left.ts';
import { isOwned, ramFiles, sourceRam, type RamName } from './open-image.ts';
import { printable, printJson, printLine } from './output.ts';
import { pathOfRam } from './ram-name.ts';

/** What is known of a RAM without reading its files. */
export interface RamFacts {
  readonly name: string;
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Bytes of memory that it takes. */
  readonly taken: number;
  /**
   * `'dead'`: its owner died without handing over, and what it had preserved is there. `'unknown'`:
   * no RAM of liveupdate or of this version, damaged, or not ours to read.
   */
  readonly state: 'handed-over' | 'running' | 'dead' | 'empty' | 'unknown';
  /** The generation that owns it, or was the last to. */
  readonly generation?: number;
  /** Its process. */
  readonly pid?: number;
  /** How an owner ended that died, and when, where it could say so: milliseconds since 1970. */
  readonly end?: 'exit' | 'exception' | 'unknown';
  readonly at?: number;
  /** What is left of one that died; absent where that cannot be read. */
  readonly sessions?: number;
  readonly files?: number;
}

const MAY_FOLLOW_NOTHING = fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;

/** The first page of an open file; undefined where that is none of a RAM, of whatever version. */
function headOf(fd: number): Uint8Array | undefined {
  if (!fs.fstatSync(fd).isFile()) return undefined;
  const head = new Uint8Array(PAGE_SIZE);
  fs.readSync(fd, head, 0, PAGE_SIZE, 0);
  return hasBootPage(head) ? head : undefined;
}

/**
 * What stands in the first page of a RAM; undefined where it cannot be read: another version, or
 * damaged.
 */
function bootPageOf(head: Uint8Array, size: number): BootPage | undefined {
  try {
    return readBootPage(head, size);
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

/** Facts about a file that is called like a RAM, whatever it is; undefined where it is gone. */
function factsOf({ name, file }: RamName): RamFacts | undefined {
  const stat = fs.lstatSync(file, { throwIfNoEntry: false });
  if (!stat) return undefined;
  const { size, blocks } = stat;
  const unknown: RamFacts = { name, path: file.toString(), size, taken: blocks * 512, state: 'unknown' };
  if (!stat.isFile()) return unknown; // the mere open of a device may do something
  try {
    return { ...unknown, ...readFacts(file) };
  } catch {
    return unknown; // not ours to read, or gone by now
  }
}

function readFacts(file: Buffer): Partial<RamFacts> {
  const fd = fs.openSync(file, fs.constants.O_RDONLY | MAY_FOLLOW_NOTHING);
  try {
    const head = headOf(fd);
    const page = head && bootPageOf(head, fs.fstatSync(fd).size);
    if (!page) return {};
    const state = stateOf(page, fd);
    const { generation, ownerPid: pid } = page;
    if (state !== 'dead') return { state, generation, pid };
    return { state, generation, pid, ...remainsOf(page, fd) };
  } finally {
    fs.closeSync(fd);
  }
}

function stateOf({ state, ownerPid }: BootPage, fd: number): RamFacts['state'] {
  if (isOwned(fd, ownerPid)) return 'running'; // also while it takes over what was handed to it
  return state === 'running' ? 'dead' : state;
}

/** What is left in a RAM whose owner died, as far as it can be read. */
function remainsOf(page: BootPage, fd: number): Pick<RamFacts, 'end' | 'at' | 'sessions' | 'files'> {
  const { ended, endedAt } = page;
  const how = { end: ended ?? ('unknown' as const), ...(endedAt > 0 && { at: endedAt }) };
  try {
    const source = new FileSource(fd, fs.fstatSync(fd).size);
    const { luo, damage } = leftInRecord(sourceRam(source, page.ramSize), page.live, undefined);
    if (damage.length > 0 || !luo) return how;
    const files = luo.sessions.reduce((sum, session) => sum + session.files.length, 0);
    return { ...how, sessions: luo.sessions.length, files };
  } catch (error) {
    if (error instanceof KernelError) return how;
    throw error;
  }
}

function plural(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? '' : 's'}`;
}

/** `2 sessions with 3 files`; undefined where that is not known. */
function contentsOf({ sessions, files }: Pick<RamFacts, 'sessions' | 'files'>): string | undefined {
  if (sessions === undefined || files === undefined) return undefined;
  return `${plural(sessions, 'session')} with ${plural(files, 'file')}`;
}

function inWords(facts: RamFacts): string {
  const { state, generation = 0, pid = 0, end } = facts;
  switch (state) {
    case 'running':
      return `generation ${generation} runs (pid ${pid})`;
    case 'handed-over':
      return `handed over by generation ${generation}`;
    case 'dead': {
      const how = { exit: 'exited without handing over', exception: 'died of an exception', unknown: 'died' };
      const what = contentsOf(facts);
      const rest =
        what === undefined ? "what it left is damaged: see 'check'" : `${what} preserved are there`;
      return `generation ${generation} (pid ${pid}) ${how[end ?? 'unknown']}; ${rest}`;
    }
    case 'empty':
      return `empty: generation ${generation} ended`;
    case 'unknown':
      return 'no RAM of this version of liveupdate, damaged, or not ours to read';
  }
}

/** Words in columns, each as wide as its widest. */
function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) => row.map((word, column) => word.padEnd(widths[column])).join('  '));
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

/** The processes that own RAMs of this host, by name. */
export function livingOwners(): Map<string, number> {
  const all = ramFiles().flatMap((each) => factsOf(each) ?? []);
  return new Map(all.flatMap(({ name, state, pid }) => (state === 'running' && pid ? [[name, pid]] : [])));
}

/** Prints the RAMs of this host. Returns the exit code. */
export function runList({ json }: { json: boolean }): number {
  const all = ramFiles().flatMap((each) => factsOf(each) ?? []);
  if (json) {
    printJson(all);
  } else if (all.length === 0) {
    process.stderr.write('there is no RAM in /dev/shm\n');
  } else {
    const rows = all.map((facts) => [
      printable(facts.name) || "''",
      formatSize(facts.size),
      formatSize(facts.taken),
      inWords(facts),
    ]);
    process.stdout.write(columns([['NAME', 'SIZE', 'TAKEN', 'STATE'], ...rows]));
  }
  return 0;
}

/** What goes with a RAM whose owner died. */
function lostWith(head: Uint8Array, fd: number): string {
  const page = bootPageOf(head, fs.fstatSync(fd).size);
  if (page?.state !== 'running') return '';
  const remains = remainsOf(page, fd);
  if (remains.sessions === 0) return '';
  const what = contentsOf(remains) ?? 'what could not be read';
  return `, and with it what generation ${page.generation} (pid ${page.ownerPid}) had preserved: ${what}`;
}

/** What opening a file that is not there says. */
const GONE = { code: 'ENOENT' };
const NO_RAM = 'is no RAM of liveupdate: if it is to go all the same, remove it as any file';

function notOpened(path: string, cause: unknown): KernelError {
  const code = codeOf(cause);
  const why: Partial<Record<typeof code, string>> = {
    ENOENT: `there is no RAM at ${path}: see 'liveupdate list'`,
    EACCES: `${path} belongs to another user: run this as that user`,
    EISDIR: `${path} ${NO_RAM}`,
    ELOOP: `${path} is a symbolic link: give the RAM itself`,
  };
  return new KernelError(code, why[code] ?? `${path} cannot be opened`, { cause });
}

/**
 * Removes a RAM, by path or by name, and all that is in it. Returns the exit code.
 *
 * @throws UsageError: no name of a RAM. KernelError ENOENT: no such RAM. EBUSY: a process owns it.
 * EINVAL: a file that is no RAM of liveupdate. EACCES, EPERM: not ours to remove.
 */
export function runRemove(given: string): number {
  const path = pathOfRam(given);
  let fd: number;
  try {
    fd = fs.openSync(path, fs.constants.O_RDWR | MAY_FOLLOW_NOTHING);
  } catch (cause) {
    throw notOpened(path, cause);
  }
  try {
    const { blocks, size } = fs.fstatSync(fd);
    const head = headOf(fd);
    if (!head) throw new KernelError('EINVAL', `${path} ${NO_RAM}`);
    // Whoever has the lock is its owner: nobody takes it over while it is removed.
    if (!tryLock(fd)) {
      const pid = bootPageOf(head, size)?.ownerPid;
      const who = pid === undefined ? 'a process' : `process ${pid}`;
      throw new KernelError(
        'EBUSY',
        `${who} owns ${path}: end it first, by 'liveupdate stop' where 'liveupdate run' runs it, else by 'kill' (what it has preserved survives that, until the RAM is removed)`,
      );
    }
    if (!MappedRam.isOpenOn(fd, path)) throw notOpened(path, GONE);
    const lost = lostWith(head, fd);
    fs.rmSync(path);
    printLine(`removed ${path}: ${formatSize(blocks * 512)} of memory given back${lost}`);
    return 0;
  } finally {
    fs.closeSync(fd);
  }
}
