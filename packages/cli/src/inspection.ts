/**
 * What an image holds, as data: for the text that people read and for the JSON that programs read.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import type { FileRecord } from '@liveupdate/luo-core';
import { hashContent } from './content-hash.ts';
import { fromLeft, sessionsOf, type Left } from './left.ts';
import type { OpenImage } from './open-image.ts';
import { isMemfd, isSameFile, readPreserved, reasonOf, type PreservedMemfd } from './preserved-file.ts';
import type { Progress } from './progress.ts';

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
  /** Hex; undefined where it was not asked for. */
  readonly sha256: string | undefined;
}

export interface InspectedFile extends FileRecord {
  /** undefined for a file of a kind that is not known here, and for one that is damaged. */
  readonly memfd: MemfdContent | undefined;
  /** Why it cannot be read. */
  readonly damage: string | undefined;
}

export interface InspectedSession {
  readonly name: string;
  /** A kernel that died had not finished it: there is a newer one of its name. */
  readonly isOlder: boolean;
  readonly files: readonly InspectedFile[];
}

export interface Inspection extends Pick<Left, 'handover' | 'luo' | 'live'> {
  readonly image: OpenImage;
  readonly sessions: readonly InspectedSession[];
  /** Preserved folios, or runs of pages: their number and their bytes. */
  readonly preserved: { readonly count: number; readonly bytes: number };
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
  const { handover, luo, live, damage } = left;
  const preserved = { count: 0, bytes: 0 };
  for (const [order, count] of handover.preservedByOrder) {
    preserved.count += count;
    preserved.bytes += count * PAGE_SIZE * 2 ** order;
  }
  const sessions = found.map(({ name, isOlder, files }) => ({
    name,
    isOlder,
    files: files.map(({ found: memfd, ...file }) => ({
      ...file,
      memfd: memfd && inspected(memfd, hashes?.get(memfd)),
    })),
  }));
  return { image, handover, luo, live, sessions, preserved, damage: damage.map(reasonOf) };
}

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
  const memfds = found.flatMap(({ files }) => files.flatMap((file) => file.found ?? []));
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
