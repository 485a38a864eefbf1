/**
 * What an image holds, as data: for the text that people read and for the JSON that programs read.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import type { FileRecord } from '@liveupdate/luo-core';
import { hashContent } from './content-hash.ts';
import { fromLeft, sessionsOf, type Left } from './left.ts';
import { ownershipOf, type Ownership } from './owners.ts';
import type { OpenImage } from './open-image.ts';
import { isMemfd, isSameFile, readPreserved, reasonOf, type PreservedMemfd } from './preserved-file.ts';
import type { Progress } from './progress.ts';
import {
  SYSTEMD_MAP_TOKEN,
  SYSTEMD_SESSION,
  systemdMapIn,
  type SystemdMap,
  type SystemdName,
} from './systemd-session.ts';
import type { Taken } from './taken-marks.ts';

/** What is known of a memfd beside its record. */
interface MemfdContent {
  /** Bytes. */
  readonly position: number;
  readonly size: number;
  /** A mask of SEAL_*. */
  readonly seals: number;
  readonly folios: number;
  /** Folios by order. */
  readonly folioOrders: ReadonlyMap<number, number>;
  /** The different flags that its folios have. */
  readonly folioFlags: readonly number[];
  /** Hex; undefined where it was not asked for, or the file is far larger than the RAM. */
  readonly sha256: string | undefined;
}

export interface InspectedFile extends FileRecord {
  /** undefined for a file of a kind that is not known here, and for one that is damaged. */
  readonly memfd: MemfdContent | undefined;
  /** Why it cannot be read. */
  readonly damage: string | undefined;
  /** Whose it is, in the session of systemd. */
  readonly systemd: SystemdName | undefined;
  /**
   * Of a handover that the next kernel has taken: whether it has taken the memory of this file;
   * undefined in all others.
   */
  readonly taken: Taken | 'in part' | undefined;
}

/** Files of a kind. */
interface InspectedHandler {
  readonly compatible: string;
  readonly files: number;
  /** Whether their records are read here. */
  readonly isKnown: boolean;
}

export interface InspectedSession {
  readonly name: string;
  /** A kernel that died had not finished it: there is a newer one of its name. */
  readonly isOlder: boolean;
  readonly files: readonly InspectedFile[];
  /** Whose it is, where a unit of systemd made it. */
  readonly systemd: SystemdName | undefined;
}

export interface Inspection extends Pick<Left, 'handover' | 'luo' | 'live' | 'moment'> {
  readonly image: OpenImage;
  readonly sessions: readonly InspectedSession[];
  /** Preserved folios, or runs of pages: their number and their bytes. */
  readonly preserved: { readonly count: number; readonly bytes: number };
  readonly handlers: readonly InspectedHandler[];
  readonly ownership: Ownership;
  /** What is damaged beside the files. */
  readonly damage: readonly string[];
}

/** A file as it was found. */
interface FoundFile extends FileRecord {
  readonly found: PreservedMemfd | undefined;
  readonly damage: string | undefined;
}

interface FoundSession {
  readonly name: string;
  readonly isOlder: boolean;
  readonly files: readonly FoundFile[];
}

/**
 * Reads everything that an image holds, and checks it on the way.
 *
 * @param startHashing where hashes of all contents are wanted: makes the display of progress, given
 * the bytes of all files
 * @throws KernelError EINVAL, EFAULT, EOVERFLOW: the handover is damaged or of another version.
 * EBUSY: it was taken over meanwhile. EAGAIN: its owner publishes changes all the time.
 */
export async function readInspection(
  image: OpenImage,
  startHashing?: (total: number) => Promise<Progress>,
): Promise<Inspection> {
  const { left, found } = await findAll(image);
  const hashes = startHashing && (await hashAll(image, found, startHashing));
  image.checkUnchanged();
  const { handover, luo, live, moment } = left;
  const damage = [...new Set([...image.fileDamage(), ...left.damage])];
  const preserved = { count: 0, bytes: 0 };
  for (const [order, count] of handover.preservedByOrder) {
    preserved.count += count;
    preserved.bytes += count * PAGE_SIZE * 2 ** order;
  }
  const map = systemdMap(found);
  const sessions = found.map(({ name, isOlder, files }) => ({
    name,
    isOlder,
    systemd: map?.sessions.get(name),
    files: files.map(({ found: memfd, ...file }) => ({
      ...file,
      systemd: name === SYSTEMD_SESSION ? map?.tokens.get(file.token) : undefined,
      taken: memfd && takenOf(left, memfd),
      memfd: memfd && inspected(memfd, hashes?.get(memfd)),
    })),
  }));
  const owning = found.flatMap(({ name, files }) =>
    files.map(({ token, found: memfd }) => ({ name: `${name}/${token}`, memfd })),
  );
  const ownership = ownershipOf(left, owning);
  return {
    image,
    handover,
    luo,
    live,
    moment,
    sessions,
    preserved,
    handlers: handlersOf(sessions),
    ownership,
    damage: [...damage.map(reasonOf), ...(live ? [] : ownership.damage)],
  };
}

/** The map of systemd's session, where there is one. */
function systemdMap(found: readonly FoundSession[]): SystemdMap | undefined {
  const session = found.find(({ name }) => name === SYSTEMD_SESSION);
  const memfd = session?.files.find(({ token }) => token === SYSTEMD_MAP_TOKEN)?.found;
  return memfd && systemdMapIn(memfd.content);
}

/** Whether the next kernel has taken the memory of a file. */
function takenOf({ moment }: Left, { pa, content }: PreservedMemfd): InspectedFile['taken'] {
  if (moment?.moment !== 'taken over') return undefined;
  const all = new Set<Taken>([moment.taken(pa / PAGE_SIZE)]);
  for (const pfn of content.folios.pfns) {
    all.add(moment.taken(pfn));
    if (all.size > 1) break;
  }
  if (all.has('unknown')) return 'unknown';
  return all.size === 1 ? [...all][0] : 'in part';
}

function handlersOf(sessions: readonly { readonly files: readonly FileRecord[] }[]): InspectedHandler[] {
  const counts = new Map<string, number>();
  for (const { files } of sessions)
    for (const { compatible } of files) counts.set(compatible, (counts.get(compatible) ?? 0) + 1);
  return [...counts].map(([compatible, files]) => ({ compatible, files, isKnown: isMemfd({ compatible }) }));
}

/**
 * A file of more than twice the RAM is nearly all holes, or its size is a lie: nobody waits for the
 * hash of terabytes of zeros.
 */
const HASHED_SHARE = 2;
const LEAST_HASHED = 256 * 2 ** 20;

/** All sessions with all files, of one published state. */
function findAll(image: OpenImage): Promise<{ readonly left: Left; readonly found: FoundSession[] }> {
  return fromLeft(image, (left) => ({
    left,
    found: sessionsOf(left).map(({ name, isOlder, files }) => ({
      name,
      isOlder,
      files: files.map((file) => findFile(left, file)),
    })),
  }));
}

function findFile(left: Left, file: FileRecord): FoundFile {
  const { token, compatible, data } = file;
  const record = { token, compatible, data };
  if (!isMemfd(file)) return { ...record, found: undefined, damage: undefined };
  try {
    return { ...record, found: readPreserved(left, file), damage: undefined };
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return { ...record, found: undefined, damage: reasonOf(error) };
  }
}

/**
 * Hashes of all contents. Where the owner goes on they are of no one moment, and left out where the
 * file was no more the same by the end.
 */
async function hashAll(
  image: OpenImage,
  found: readonly FoundSession[],
  start: (total: number) => Promise<Progress>,
): Promise<Map<PreservedMemfd, string>> {
  const most = Math.max(LEAST_HASHED, HASHED_SHARE * image.ram.size);
  const memfds = found
    .flatMap(({ files }) => files.flatMap((file) => file.found ?? []))
    .filter(({ content }) => content.size <= most);
  const hashes = new Map<PreservedMemfd, string>();
  const progress = await start(memfds.reduce((sum, { content }) => sum + content.size, 0));
  try {
    for (const memfd of memfds) hashes.set(memfd, await hashContent(memfd.content, progress));
  } finally {
    progress.stop();
  }
  if (image.owner !== 'lives') return hashes;
  const again = await findAll(image);
  const there = new Map(
    again.found.flatMap(({ files }) =>
      files.flatMap(({ found: file }) => (file ? [[file.pa, file] as const] : [])),
    ),
  );
  for (const memfd of memfds) {
    const now = there.get(memfd.pa);
    if (!now || !isSameFile(memfd, now)) hashes.delete(memfd);
  }
  return hashes;
}

function inspected({ record, content }: PreservedMemfd, sha256: string | undefined): MemfdContent {
  const { position, size, seals } = record;
  const { folios, orders } = content;
  return {
    position,
    size,
    seals,
    folios: folios.pfns.length,
    folioOrders: countOrders(orders),
    folioFlags: [...new Set(folios.flags)].sort((a, b) => a - b),
    sha256,
  };
}

function countOrders(orders: Uint8Array): Map<number, number> {
  const counts = new Map<number, number>();
  for (const order of orders) counts.set(order, (counts.get(order) ?? 0) + 1);
  return counts;
}
