/**
 * Verifies all that a RAM tells of itself, each thing on its own: the boot page, the live record,
 * the handover where there is one, and of both the sessions and files. Nothing is changed, and what
 * is damaged keeps nothing from being looked at.
 */
import { KernelError, PAGE_SIZE, type Pfn } from '@liveupdate/base';
import { bootPageCopies, type BootPage } from '@liveupdate/kexec';
import { framesOfLive, readVmallocPages, type LiveRecord } from '@liveupdate/kho';
import type { FileRecord } from '@liveupdate/luo-core';
import type { Ram } from '@liveupdate/mm';
import { FrameOwners } from './frame-owners.ts';
import { leftInHandover, leftInRecord, sessionsOf, type Left } from './left.ts';
import { isMemfd, readPreserved, reasonOf, type PreservedMemfd } from './preserved-file.ts';

/** What of a RAM is damaged. */
type Part = 'boot page' | 'live record' | 'handover' | 'file';

interface Damage {
  readonly part: Part;
  readonly what: string;
}

export interface CheckedFile extends FileRecord {
  readonly session: string;
  /** It is in the older of two sessions of one name. */
  readonly isOlder: boolean;
  /**
   * Whether `export` gives its content. `'unknown'`: it is of a kind that only its program can
   * check.
   */
  readonly state: 'whole' | 'damaged' | 'unknown';
  readonly damage: readonly string[];
}

export interface Checkup {
  readonly damage: readonly Damage[];
  /** What is there, and as it may be. */
  readonly notes: readonly string[];
  readonly files: readonly CheckedFile[];
  /** Sessions, those without files too. */
  readonly sessions: number;
}

/** What a report has of one kind of damage, at most: a page of noise is thousands. */
const MOST_ALIKE = 20;

/** Collects damage; the same is told once. */
class Findings {
  readonly damage: Damage[] = [];
  readonly notes: string[] = [];
  readonly #counts = new Map<Part, number>();

  tell(part: Part, what: string): void {
    if (this.damage.some((each) => each.part === part && each.what === what)) return;
    const count = (this.#counts.get(part) ?? 0) + 1;
    this.#counts.set(part, count);
    if (count <= MOST_ALIKE) this.damage.push({ part, what });
    if (count === MOST_ALIKE + 1) this.damage.push({ part, what: 'and more like that' });
  }

  /** What `read` gives; undefined, and told, where it is damaged. */
  ifReadable<T>(part: Part, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.tell(part, reasonOf(error));
      return undefined;
    }
  }
}

/** A RAM, and what its boot page says; undefined where that is damaged. */
export interface CheckedRam {
  readonly firstPage: Uint8Array;
  readonly page: BootPage | undefined;
  /** Why there is none. */
  readonly pageDamage: KernelError | undefined;
  readonly ram: Ram | undefined;
}

/** Looks at all of a RAM. */
export function checkUp({ firstPage, page, pageDamage, ram }: CheckedRam): Checkup {
  const findings = new Findings();
  checkBootPage(findings, firstPage, pageDamage);
  const none: Checkup = { damage: findings.damage, notes: findings.notes, files: [], sessions: 0 };
  if (!page || !ram || page.state === 'empty') return none;
  const change = page.liveChange > 0 ? page.liveChange : undefined;
  const inRecord = findings.ifReadable('live record', () => leftInRecord(ram, page.live, change));
  if (inRecord?.live) checkRecord(findings, inRecord, inRecord.live);
  const handover =
    page.state === 'handed-over'
      ? findings.ifReadable('handover', () => leftInHandover(ram, page.entry))
      : undefined;
  for (const error of handover?.damage ?? []) findings.tell('handover', reasonOf(error));
  // What is exported is what a handover lists, where it can be read.
  const [main, other] = handover ? [handover, inRecord] : [inRecord, undefined];
  if (!main) return none;
  const { files, listed } = checkFiles(main);
  if (other) for (const file of checkFiles(other).files) tellFile(findings, file, ' in the live record');
  for (const file of files) tellFile(findings, file, '');
  noteUnlisted(findings, main, files, listed);
  return { ...none, files, sessions: main.luo?.sessions.length ?? 0 };
}

function checkBootPage(findings: Findings, firstPage: Uint8Array, pageDamage: KernelError | undefined): void {
  for (const [i, state] of bootPageCopies(firstPage).entries()) {
    const which = `copy ${i + 1} of 2`;
    if (state === 'damaged') findings.tell('boot page', `${which} is damaged`);
    if (state === 'unfinished')
      findings.notes.push(`boot page: ${which} was being written when its writer ended; the other counts`);
  }
  if (pageDamage) findings.tell('boot page', reasonOf(pageDamage));
}

/** What of a live record readers leave to whoever wants to know. */
function checkRecord(findings: Findings, { damage, handover }: Left, live: LiveRecord): void {
  for (const error of damage) findings.tell('live record', reasonOf(error));
  const places = new Set<string>();
  for (const { kind, order, place } of live.pages) {
    if (kind === 0) continue; // for nothing at present
    const name = `${kind}/${order}/${place}`;
    if (places.has(name))
      findings.tell('live record', `two of its pages are number ${place} of kind ${kind}`);
    places.add(name);
  }
  const pages = framesOfLive(live).length;
  findings.notes.push(
    `live record: change ${live.published}, ${pages} pages, ${pagesIn(handover)} pages of published memory`,
  );
}

/** Pages that are preserved. */
function pagesIn({ preservedByOrder }: Left['handover']): number {
  let pages = 0;
  for (const [order, count] of preservedByOrder) pages += count * 2 ** order;
  return pages;
}

/**
 * Memory that no file lists does no harm, and comes free in time. Who else may have it is not known
 * where files are of other kinds.
 */
function noteUnlisted(
  { damage, notes }: Findings,
  { live, handover, luo }: Left,
  files: readonly CheckedFile[],
  listed: number,
): void {
  if (!live || damage.length > 0 || files.some(({ state }) => state === 'unknown') || luo?.flbs.length)
    return;
  const more = pagesIn(handover) - listed;
  if (more > 0) notes.push(`live record: ${more} published pages are in no file`);
}

function tellFile(findings: Findings, file: CheckedFile, where: string): void {
  for (const what of file.damage) findings.tell('file', `${titleOf(file)}${where}: ${what}`);
}

/** All files that something lists, and how many pages of preserved memory they name. */
function checkFiles(left: Left): { readonly files: CheckedFile[]; readonly listed: number } {
  const owners = new FrameOwners();
  const files = sessionsOf(left).flatMap(({ name: session, isOlder, files: records }) =>
    records.map(({ token, compatible, data }) => ({
      ...{ token, compatible, data, session, isOlder },
      damage: [] as string[],
    })),
  );
  /** A page that two files name: which of them is right, nobody knows. */
  const tellBoth = (what: string, pfn: Pfn, i: number, other: number): void => {
    const [here, there] = [files[i], files[other]];
    here.damage.push(`${what} at frame ${pfn} is also that of ${titleOf(there)}`);
    if (i !== other) there.damage.push(`frame ${pfn}, which it names, is also that of ${titleOf(here)}`);
  };
  for (const [i, file] of files.entries()) {
    if (!isMemfd(file)) continue;
    try {
      for (const [pfn, order, what] of framesOf(left, readPreserved(left, file))) {
        if (orderOf(left, pfn) !== order)
          file.damage.push(`${what} at frame ${pfn} is not preserved as it is listed`);
        const other = owners.claim(pfn, 2 ** order, i);
        if (other !== undefined) tellBoth(what, pfn, i, other);
        if (file.damage.length >= MOST_ALIKE) break;
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      file.damage.push(reasonOf(error));
    }
  }
  return { files: files.map((file) => ({ ...file, state: stateOf(file) })), listed: owners.count };
}

function stateOf(file: Omit<CheckedFile, 'state'>): CheckedFile['state'] {
  if (!isMemfd(file)) return 'unknown';
  return file.damage.length === 0 ? 'whole' : 'damaged';
}

function titleOf({ session, isOlder, token }: Omit<CheckedFile, 'state'>): string {
  return `token ${token} of ${isOlder ? 'the older ' : ''}session '${session}'`;
}

function orderOf(left: Left, pfn: Pfn): number | undefined {
  try {
    return left.orderOf?.(pfn);
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

/** Everything in preserved memory that a memfd names. */
function* framesOf({ ram }: Left, { pa, record, content }: PreservedMemfd): Generator<[Pfn, number, string]> {
  yield [pa / PAGE_SIZE, 0, 'its record'];
  const { pfns, chunks } = readVmallocPages(ram, record.array);
  for (const pfn of chunks) yield [pfn, 0, 'a page of its list of folios'];
  for (const pfn of pfns) yield [pfn, record.array.order, 'a page of its list of folios'];
  const { folios, orders } = content;
  for (let i = 0; i < orders.length; i++) yield [folios.pfns[i], orders[i], 'its folio'];
}
