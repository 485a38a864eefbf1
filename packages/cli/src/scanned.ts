/**
 * Sessions and files put together from records that a survey found, where the record that led to
 * them is gone, or not written yet. What no session leads to is there under a name of its own.
 */
import { KernelError, PAGE_SIZE, physToPfn } from '@liveupdate/base';
import type { Handover } from '@liveupdate/kho';
import type { FileRecord, FlbRecord, FoundBlock, SessionPlace, SessionRecord } from '@liveupdate/luo-core';
import { INCOMING_HEAD, type Ram } from '@liveupdate/mm';
import { LUO_FORMATS, MEMFD_FORMATS } from './formats/index.ts';
import type { Findings } from './survey.ts';

export interface Scanned {
  readonly sessions: readonly SessionRecord[];
  readonly flbs: readonly FlbRecord[];
  /** Pages that the records lie in. */
  readonly pages: readonly number[];
}

/** What stands in place of a session's name: no session of a kernel is called so by accident. */
export const NO_SESSION = '@memfd';

/** Where a list of files lies that no session leads to. */
function orphanName(pa: number): string {
  return `@0x${pa.toString(16)}`;
}

/** Whether a name was given here. */
export function isMadeUp(name: string): boolean {
  return name === NO_SESSION || /^@0x[0-9a-f]+$/.test(name);
}

/** A page as a block of either kind. */
function readBlock<T>(
  ram: Ram,
  pa: number,
  read: (page: Uint8Array) => FoundBlock<T> | undefined,
): FoundBlock<T> | undefined {
  if (!(pa > 0 && pa % PAGE_SIZE === 0 && pa + PAGE_SIZE <= ram.size)) return undefined;
  return read(ram.bytes(pa, PAGE_SIZE));
}

const sessionsOf = (page: Uint8Array): FoundBlock<SessionPlace> | undefined =>
  LUO_FORMATS.map(({ sessions }) => sessions(page)).find((block) => block !== undefined);
const filesOf = (page: Uint8Array): FoundBlock<FileRecord> | undefined =>
  LUO_FORMATS.map(({ files }) => files(page)).find((block) => block !== undefined);

/** The chain of blocks that begins at an address, as far as it goes. */
function chain<T>(
  ram: Ram,
  first: number,
  read: (page: Uint8Array) => FoundBlock<T> | undefined,
  used: Set<number>,
): { readonly entries: T[]; readonly brokenAt: number | undefined } {
  const entries: T[] = [];
  for (let pa = first; pa !== 0;) {
    const block = used.has(pa) ? undefined : readBlock(ram, pa, read);
    if (!block) return { entries, brokenAt: pa };
    used.add(pa);
    entries.push(...block.entries);
    pa = block.next;
  }
  return { entries, brokenAt: undefined };
}

/** Blocks that no other leads to, in the order of their addresses. */
function heads(
  ram: Ram,
  pages: readonly number[],
  read: (page: Uint8Array) => FoundBlock<unknown> | undefined,
): number[] {
  const nexts = new Set(pages.map((pa) => readBlock(ram, pa, read)?.next));
  return pages.filter((pa) => !nexts.has(pa));
}

/**
 * Sessions and files in the memory that a handover preserved; in all memory where it has no map.
 *
 * @param onDamage is told of lists that end in the midst
 * @param hasMap whether its map says what was preserved
 */
export function scanned(
  ram: Ram,
  found: Findings,
  { table, preservedByOrder }: Handover,
  onDamage: (damage: KernelError) => void,
  hasMap = preservedByOrder.size > 0,
): Scanned {
  const isPreserved = (pa: number): boolean => {
    const pfn = physToPfn(pa);
    return !hasMap || (pfn < table.frames && table.kindOf(pfn) === INCOMING_HEAD);
  };
  const used = new Set<number>();
  const sessions = new Map<string, SessionRecord>();
  const reached = new Set<bigint>();
  const add = (name: string, files: readonly FileRecord[], key: string): void => {
    for (const { data } of files) reached.add(data);
    sessions.set(key, { name, files: distinctTokens(files) });
  };
  for (const pa of heads(ram, found.sessionBlocks.filter(isPreserved), sessionsOf)) {
    const block = chain(ram, pa, sessionsOf, used);
    tellBroken(onDamage, 'a list of sessions', pa, block.brokenAt);
    for (const { name, files: first, count } of block.entries) {
      const key = `${name}/${first}`;
      if (sessions.has(key)) continue; // a copy of the same block
      const { entries, brokenAt } = chain(ram, first, filesOf, used);
      tellBroken(onDamage, `the list of files of session '${name}'`, first, brokenAt);
      if (brokenAt === undefined && entries.length !== count) {
        const what = `session '${name}' counts ${count} files and lists ${entries.length}`;
        onDamage(new KernelError('EINVAL', what));
      }
      add(name, entries, key);
    }
  }
  const left = found.fileBlocks.filter((pa) => isPreserved(pa) && !used.has(pa));
  for (const pa of heads(ram, left, filesOf)) {
    const { entries, brokenAt } = chain(ram, pa, filesOf, used);
    tellBroken(onDamage, 'a list of files', pa, brokenAt);
    add(orphanName(pa), entries, orphanName(pa));
  }
  const alone = found.memfds.filter(({ pa }) => isPreserved(pa) && !reached.has(BigInt(pa)));
  const loose = alone
    .filter(({ pa, compatible }) => isWholeRecord(ram, pa, compatible))
    .map(({ pa, compatible }) => ({ compatible, data: BigInt(pa), token: BigInt(pa) }));
  if (loose.length > 0) add(NO_SESSION, loose, NO_SESSION);
  const flbPages = found.flbs.filter(isPreserved);
  return {
    sessions: [...sessions.values()],
    flbs: flbPages.length === 1 ? flbsAt(ram, flbPages[0]) : [],
    pages: [...used, ...flbPages],
  };
}

function tellBroken(
  onDamage: (damage: KernelError) => void,
  what: string,
  first: number,
  brokenAt: number | undefined,
): void {
  if (brokenAt === undefined) return;
  const where =
    brokenAt === first ? 'is no more there' : `(0x${first.toString(16)}) goes on where no block is`;
  onDamage(
    new KernelError('EINVAL', `${what} ${where}: 0x${brokenAt.toString(16)} was given away, or is damaged`),
  );
}

/** Of two files of one token the first: files are found by token. */
function distinctTokens(files: readonly FileRecord[]): FileRecord[] {
  return [...new Map([...files].reverse().map((file) => [file.token, file])).values()].reverse();
}

function flbsAt(ram: Ram, pa: number): readonly FlbRecord[] {
  const page = ram.bytes(pa, PAGE_SIZE);
  return LUO_FORMATS.map(({ flbs }) => flbs(page)).find((flbs) => flbs !== undefined) ?? [];
}

/** Whether a page that may be a record of a memfd leads to a list of folios. */
function isWholeRecord(ram: Ram, pa: number, compatible: string): boolean {
  const format = MEMFD_FORMATS.find((each) => each.compatible === compatible);
  try {
    const record = format?.read(ram, pa);
    return record !== undefined && (format?.folios(ram, record, () => 0).pfns.length ?? 0) > 0;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return false;
  }
}
