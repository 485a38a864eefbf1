/**
 * A file on its way to the next kernel, and the callbacks of its handler that save it: one by one,
 * or many in one step.
 */
import { brokenRule, dataOf, isPromise, kindOf, type CallbackWaiter } from './callbacks.ts';
import type { MaybePromise } from './callback-types.ts';
import type { FlbSet } from './flb-set.ts';
import type { PreservableFile } from './handler.ts';
import type { LiveSessions } from './live-sessions.ts';
import { noted, notedUntil } from './noted.ts';
import type { Flb } from './registered-flb.ts';
import type { RegisteredHandler } from './registry.ts';

/** What callbacks are given, and who waits for them. */
interface Saving {
  readonly flbs: FlbSet;
  readonly waiter: CallbackWaiter;
  readonly live: LiveSessions | undefined;
}

export interface OutgoingFile {
  readonly file: PreservableFile;
  readonly handler: RegisteredHandler;
  /** The FLBs that it is counted for. */
  readonly flbs: readonly Flb[];
  /** What the file is known by: see getId. */
  readonly id: unknown;
  readonly token: bigint;
  data: bigint;
  /** Its slot in the live record; -1 where there is none. */
  slot: number;
}

/**
 * The handler's preserve. What FLBs count the file is counted first, and put back where it fails.
 */
export function save(saving: Saving, entry: OutgoingFile): MaybePromise<bigint> {
  return entry.flbs.length > 0 ? saveCounted(saving, entry) : saveAlone(saving, entry);
}

function saveAlone({ flbs, waiter, live }: Saving, { handler, file }: OutgoingFile): MaybePromise<bigint> {
  const given = noted(live, () => handler.handler.preserve({ file, flbs }) as unknown);
  if (!isPromise(given)) return dataOf(handler, 'preserve', given);
  return notedUntil(live, waiter.settle(handler, 'preserve', given)).then((result) =>
    dataOf(handler, 'preserve', result),
  );
}

async function saveCounted(saving: Saving, entry: OutgoingFile): Promise<bigint> {
  await saving.flbs.count(entry.flbs);
  try {
    return await saveAlone(saving, entry);
  } catch (error) {
    await saving.flbs.putBack(entry.flbs);
    throw error;
  }
}

/**
 * Saves the file at this place, and, where its handler does many at once, those behind it that are
 * its own too. Gives the place behind them.
 */
export async function saveRow(saving: Saving, entries: readonly OutgoingFile[], at: number): Promise<number> {
  const { handler, flbs: held } = entries[at];
  if (!handler.handler.preserveAll || held.length > 0) {
    entries[at].data = await save(saving, entries[at]);
    return at + 1;
  }
  const { flbs, waiter, live } = saving;
  let end = at + 1;
  while (end < entries.length && entries[end].handler === handler) end += 1;
  const row = entries.slice(at, end);
  const files = row.map(({ file }) => file);
  const given = noted(live, () => handler.handler.preserveAll?.({ files, flbs }) as unknown);
  const result = isPromise(given)
    ? await notedUntil(live, waiter.settle(handler, 'preserveAll', given))
    : given;
  if (!Array.isArray(result) || result.length !== row.length) {
    const rule = `must return a list of ${row.length} { data }, one for each file`;
    throw brokenRule(handler, 'preserveAll', rule);
  }
  for (const [i, entry] of row.entries()) entry.data = dataOf(handler, 'preserveAll', result[i]);
  return end;
}

/** @throws KernelError EINVAL: getId gives nothing that a file can be known by */
export function idOf(handler: RegisteredHandler, file: PreservableFile): unknown {
  if (!handler.handler.getId) return file;
  const id = handler.handler.getId(file);
  if (id === undefined || id === null || isPromise(id))
    throw brokenRule(handler, 'getId', `must return what the file is known by, and returned ${kindOf(id)}`);
  return id;
}
