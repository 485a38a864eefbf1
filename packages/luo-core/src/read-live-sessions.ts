/**
 * Reads the sessions of a live record, and writes nothing: for the orchestrator of the next kernel,
 * and for tools.
 */
import {
  byteLength,
  checkFunction,
  checkList,
  checkObject,
  KernelError,
  PAGE_SIZE,
  StructView,
  type Field,
} from '@liveupdate/base';
import { pagesOfKind, type LivePage, type LiveRecord, type OnDamage } from '@liveupdate/kho';
import { checkRam, type Ram } from '@liveupdate/mm';
import { LuoFlbSer, MAX_COMPATIBLE, MAX_FLBS, MAX_SESSION_NAME } from './abi.ts';
import {
  FILE,
  FILES_PAGE,
  FLBS_PAGE,
  isRenewed,
  ORDER,
  SESSION,
  SESSIONS_PAGE,
  SLOT_WORDS,
  SLOTS_IN_PAGE,
  stateOf,
  STATE,
  VALID,
} from './live-layout.ts';
import type { FileRecord, FlbRecord, LuoRecords, SessionRecord } from './read-luo.ts';

/** Where a file or a session stands in the live record. */
export interface LivePlace {
  /** Number of its slot. */
  readonly slot: number;
}

export interface LiveFile extends FileRecord, LivePlace {
  /** The page of FLBs that it holds some of, counted from 1; 0: none. */
  readonly flbs: number;
}

export interface LiveSession extends SessionRecord, LivePlace {
  readonly files: readonly LiveFile[];
}

/** An FLB of one kernel, as long as files hold it. */
export interface LiveFlb extends FlbRecord {
  readonly flbs: number;
}

export interface LiveRecords extends LuoRecords {
  readonly sessions: readonly LiveSession[];
  readonly flbs: readonly LiveFlb[];
}

const NAME: Field = { at: SESSION.name * 4, bytes: MAX_SESSION_NAME + 1 };
const COMPATIBLE: Field = { at: FILE.compatible * 4, bytes: MAX_COMPATIBLE + 1 };
const TOKEN: Field = { at: FILE.token * 4, bytes: 8 };
const DATA: Field = { at: FILE.data * 4, bytes: 8 };
const NEW_DATA: Field = { at: FILE.newData * 4, bytes: 8 };

/** @throws KernelError it is given */
function stop(damage: KernelError): never {
  throw damage;
}

function damaged(what: string): KernelError {
  return new KernelError('EINVAL', `the live record of this RAM is damaged: ${what}`);
}

/** Calls `visit` with each slot that counts. One that is damaged is told of, and nothing more. */
function forEachSlot(
  ram: Ram,
  record: LiveRecord,
  kind: number,
  onDamage: OnDamage,
  visit: (slot: number, words: Uint32Array, view: StructView) => void,
): void {
  for (const { pfn, place } of pagesOfKind(record, kind)) {
    const bytes = ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE);
    const all = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
    for (let at = 0; at < all.length; at += SLOT_WORDS) {
      if (stateOf(all[at + STATE], record.published) !== VALID) continue;
      const words = all.subarray(at, at + SLOT_WORDS);
      const view = new StructView(bytes.subarray(at * 4, (at + SLOT_WORDS) * 4));
      try {
        visit(place * SLOTS_IN_PAGE + at / SLOT_WORDS, words, view);
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        onDamage(error);
      }
    }
  }
}

function orderOf(words: Uint32Array): number {
  return words[ORDER] + words[ORDER + 1] * 2 ** 32;
}

function text(view: StructView, field: Field, what: string): string {
  const value = view.getString(field);
  if (!view.isTerminated(field) || byteLength(value) === 0) throw damaged(`${what} is empty or has no end`);
  return value;
}

/**
 * All sessions, files and FLBs of a live record, sessions and files in the order in which they were
 * made. Two sessions may have one name: the later is that of the kernel that came later.
 *
 * @param onDamage is told of damage, and what is damaged is left out: for tools; default: it is
 * thrown
 * @throws KernelError EINVAL: it is damaged or contradicts itself, or these are no RAM and no live
 * record
 */
export function readLiveSessions(ram: Ram, record: LiveRecord, onDamage: OnDamage = stop): LiveRecords {
  checkRam(ram);
  checkObject(record, 'a live record');
  checkList(record.pages, 'the pages of a live record');
  checkFunction(onDamage, 'what is told of damage');
  checkKinds(record, onDamage);
  const sessions = new Map<
    number,
    { order: number; name: string; slot: number; files: [number, LiveFile][] }
  >();
  forEachSlot(ram, record, SESSIONS_PAGE, onDamage, (slot, words, view) => {
    sessions.set(slot, { order: orderOf(words), name: text(view, NAME, 'a session name'), slot, files: [] });
  });
  const counts = new Map<number, number[]>();
  forEachSlot(ram, record, FILES_PAGE, onDamage, (slot, words, view) => {
    const session = sessions.get(words[FILE.session]);
    if (!session) throw damaged(`a file is in session ${words[FILE.session]}, which is not there`);
    const file: LiveFile = {
      slot,
      compatible: text(view, COMPATIBLE, 'a compatible string'),
      data: view.getU64(isRenewed(words[STATE], record.published) ? NEW_DATA : DATA),
      token: view.getU64(TOKEN),
      flbs: words[FILE.flbs],
    };
    session.files.push([orderOf(words), file]);
    if (file.flbs > 0) countFlbs(counts, file.flbs, words[FILE.mask], words[FILE.mask + 1]);
  });
  const sorted = [...sessions.values()].sort((a, b) => a.order - b.order);
  return {
    liveupdateNumber: record.liveupdateNumber,
    sessions: sorted.map(({ name, slot, files }) => {
      const tokens = new Set(files.map(([, { token }]) => token));
      if (tokens.size < files.length) onDamage(damaged(`session '${name}' has a token twice`));
      return { name, slot, files: files.sort(([a], [b]) => a - b).map(([, file]) => file) };
    }),
    flbs: readFlbs(ram, pagesOfKind(record, FLBS_PAGE), counts, onDamage),
    pages: [],
  };
}

function checkKinds({ pages }: LiveRecord, onDamage: OnDamage): void {
  const other = pages.find(({ kind }) => kind > FLBS_PAGE);
  if (!other) return;
  onDamage(
    new KernelError(
      'EINVAL',
      `the live record has pages of kind ${other.kind}, of another version of luo-core: open the RAM with the program that made it`,
    ),
  );
}

function countFlbs(counts: Map<number, number[]>, page: number, low: number, high: number): void {
  const of = counts.get(page) ?? new Array<number>(MAX_FLBS).fill(0);
  counts.set(page, of);
  for (let i = 0; i < MAX_FLBS; i++) if (((i < 32 ? low : high) & (1 << (i & 31))) !== 0) of[i] += 1;
}

function readFlbs(
  ram: Ram,
  pages: readonly LivePage[],
  counts: ReadonlyMap<number, readonly number[]>,
  onDamage: OnDamage,
): LiveFlb[] {
  return [...counts].flatMap(([flbs, of]) => {
    const page = pages.find(({ place }) => place === flbs - 1);
    if (!page) {
      onDamage(damaged(`there is no page ${flbs} of FLBs`));
      return [];
    }
    return of.flatMap((count, i): LiveFlb[] => {
      if (count === 0) return [];
      const bytes = ram.bytes(page.pfn * PAGE_SIZE + i * LuoFlbSer.SIZE, LuoFlbSer.SIZE);
      const view = new StructView(bytes);
      try {
        const name = text(view, LuoFlbSer.name, 'an FLB name');
        return [{ name, data: view.getU64(LuoFlbSer.data), count: BigInt(count), flbs }];
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        onDamage(error);
        return [];
      }
    });
  });
}
