/**
 * What an image leaves for whoever comes next, in one shape: told by a handover; or by the live
 * record of a RAM, where its owner died, or lives still.
 *
 * Damage hides nothing that is beside it: what can be read is there, and what cannot is told.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { KernelError, MAX_ORDER, type Pfn } from '@liveupdate/base';
import {
  orderInLeaves,
  readDeadKernel,
  readHandover,
  readLiveLeaves,
  readLiveRecord,
  type Handover,
  type LiveRecord,
} from '@liveupdate/kho';
import { readLiveSessions, readLuo, type LuoRecords, type SessionRecord } from '@liveupdate/luo-core';
import { INCOMING_HEAD, type Ram } from '@liveupdate/mm';
import type { MomentFound } from './moment.ts';
import type { OpenImage } from './open-image.ts';

export interface Left {
  readonly ram: Ram;
  /** All preserved memory. */
  readonly handover: Handover;
  /** undefined where the previous kernel had no LUO. */
  readonly luo: LuoRecords | MomentFound['luo'];
  /** What tells of it; undefined where that is a handover. */
  readonly live: LiveRecord | undefined;
  /** Of an image of memory: when it was taken. */
  readonly moment: MomentFound | undefined;
  /** What could not be read. */
  readonly damage: readonly KernelError[];
  /**
   * Order of the preserved folio at a frame; undefined where no map tells any.
   *
   * @throws KernelError EINVAL: none begins there
   */
  readonly orderOf: ((pfn: Pfn) => number) | undefined;
}

/** How often a RAM whose owner goes on is read again, where something was published meanwhile. */
const MORE_TRIES = 3;

function noFolio(pfn: Pfn): KernelError {
  return new KernelError('EINVAL', `its folio at frame ${pfn} is not preserved: the record is damaged`);
}

function orderInHandover({ table }: Handover): (pfn: Pfn) => number {
  return (pfn) => {
    if (pfn >= table.frames || table.kindOf(pfn) !== INCOMING_HEAD || table.orderOf(pfn) > MAX_ORDER)
      throw noFolio(pfn);
    return table.orderOf(pfn);
  };
}

/** @throws KernelError EINVAL, EFAULT, EOVERFLOW: the handover is damaged or of another version */
export function leftInHandover(ram: Ram, entry: Handover['entry']): Left {
  const damage: KernelError[] = [];
  const handover = readHandover(ram, entry);
  const luo = readLuo(ram, handover, (error) => damage.push(error));
  return {
    ram,
    handover,
    luo,
    live: undefined,
    moment: undefined,
    damage,
    orderOf: orderInHandover(handover),
  };
}

/** @throws KernelError EINVAL, EFAULT: there is no live record, or one of another version */
export function leftInRecord(ram: Ram, pa: number, change: number | undefined): Left {
  const damage: KernelError[] = [];
  const tell = (error: KernelError): void => {
    damage.push(error);
  };
  const live = readLiveRecord(ram, pa, change, tell);
  const handover = readDeadKernel(ram, live, tell);
  // Where two keys claim one frame, a table has the first: the map itself has both.
  const keys = orderInLeaves(readLiveLeaves(ram, live, () => undefined));
  const frames = handover.table.frames;
  const orderOf = (pfn: Pfn): number => {
    const order = keys(pfn);
    if (order === undefined || order > MAX_ORDER || pfn + 2 ** order > frames) throw noFolio(pfn);
    return order;
  };
  return { ram, handover, luo: readLiveSessions(ram, live, tell), live, moment: undefined, damage, orderOf };
}

/** What was found in an image of memory. */
function leftInMemory(ram: Ram, moment: MomentFound, fileDamage: readonly KernelError[]): Left {
  const { handover, luo } = moment;
  const hasMap = handover.preservedByOrder.size > 0;
  return {
    ram,
    handover,
    luo,
    live: undefined,
    moment,
    damage: [...fileDamage, ...moment.damage],
    orderOf: hasMap ? orderInHandover(handover) : undefined,
  };
}

/**
 * What an image leaves, as it is now. A handover of a RAM that cannot be read is found in the live
 * record all the same.
 *
 * @throws KernelError EINVAL, EFAULT, EOVERFLOW: nothing of it can be read
 */
function readLeft({ ram, entry, page, moment, fileDamage }: OpenImage): Left {
  if (moment) return leftInMemory(ram, moment, fileDamage());
  const change = page && page.liveChange > 0 ? page.liveChange : undefined;
  if (!entry) return leftInRecord(ram, page?.live ?? 0, change);
  try {
    return leftInHandover(ram, entry);
  } catch (cause) {
    if (!(cause instanceof KernelError) || !page) throw cause;
    try {
      const left = leftInRecord(ram, page.live, change);
      return { ...left, damage: [cause, ...left.damage] };
    } catch (error) {
      throw error instanceof KernelError ? cause : error;
    }
  }
}

/** What was read, and whether nothing of it is damaged. */
interface Reading<T> {
  readonly value: T;
  readonly isWhole: boolean;
}

/**
 * What `read` makes of an image. Of a RAM whose owner lives that is what was published last: where
 * more is published meanwhile, it is read again.
 *
 * @throws KernelError EAGAIN: each time. EBUSY: the RAM was handed over, or taken over. What `read`
 * throws.
 */
export async function publishedState<T>(image: OpenImage, read: () => Reading<T>): Promise<T> {
  if (image.owner !== 'lives') return read().value;
  for (let tries = 0; tries <= MORE_TRIES; tries++) {
    if (tries > 0) await delay(2 ** tries);
    image.refresh();
    const before = image.published();
    let failure: unknown;
    let reading: Reading<T> | undefined;
    try {
      reading = read();
    } catch (error) {
      failure = error;
    }
    image.checkUnchanged();
    if (image.published() !== before) continue;
    if (!reading) throw failure as Error;
    // What an owner was just about to change may look like damage.
    if (reading.isWhole || tries === MORE_TRIES) return reading.value;
  }
  throw new KernelError(
    'EAGAIN',
    'the owner of this RAM published changes each time that it was read: try again when it is less busy',
  );
}

/** What `read` makes of what an image leaves. For the errors see publishedState and readLeft. */
export function fromLeft<T>(image: OpenImage, read: (left: Left) => T): Promise<T> {
  return publishedState(image, () => {
    const left = readLeft(image);
    return { value: read(left), isWhole: left.damage.length === 0 };
  });
}

/** A session, and whether a kernel that died left it unfinished beside a newer one of its name. */
export interface LeftSession extends SessionRecord {
  readonly isOlder: boolean;
}

/** The sessions, in the order in which they were made. */
export function sessionsOf({ luo }: Pick<Left, 'luo'>): LeftSession[] {
  const sessions = luo?.sessions ?? [];
  const newest = new Map(sessions.map((session) => [session.name, session]));
  return sessions.map((session) => ({ ...session, isOlder: newest.get(session.name) !== session }));
}
