/** The files of the demo: what they are, how they are filled, how their content is proved. */
import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { fillRandom, PAGE_SIZE } from '@liveupdate/base';
import {
  MFD_ALLOW_SEALING,
  SEAL_GROW,
  SEAL_SEAL,
  SEAL_SHRINK,
  type Shmem,
  type ShmemFile,
} from '@liveupdate/shmem';
import type { Progress } from './progress.ts';

export type HugeChoice = 'auto' | 'always' | 'never';

/**
 * `huge`: 2 MiB folios. `sparse`: an eighth of it written. `sealed`: can neither shrink nor grow.
 * `empty`: no byte.
 */
type FileKind = 'huge' | 'sparse' | 'sealed' | 'empty' | 'plain';

export interface FilePlan {
  readonly kind: FileKind;
  /** Bytes. */
  readonly size: number;
  readonly huge: boolean;
}

const FIRST_KINDS: readonly FileKind[] = ['huge', 'sparse', 'sealed', 'empty'];
/** Parts of the total that a file of each kind gets. */
const SHARES: Readonly<Record<FileKind, number>> = { huge: 2, sparse: 1, sealed: 1, empty: 0, plain: 1 };

const CHUNK = 4 * 2 ** 20;
/** A sparse file has one island in this many bytes. */
const ISLAND_STRIDE = 512 * 1024;
const ISLAND = ISLAND_STRIDE / 8;

/**
 * Divides `total` bytes among `count` files: the first four are of different kinds, the rest plain.
 */
export function planFiles(total: number, count: number, huge: HugeChoice): FilePlan[] {
  const kinds = Array.from({ length: count }, (_, i) => FIRST_KINDS[i] ?? 'plain');
  const parts = kinds.reduce((sum, kind) => sum + SHARES[kind], 0);
  return kinds.map((kind) => ({
    kind,
    size: sizeOf(kind, Math.floor((total * SHARES[kind]) / Math.max(1, parts) / PAGE_SIZE) * PAGE_SIZE),
    huge: huge === 'always' || (huge === 'auto' && kind === 'huge'),
  }));
}

/** A sealed file does not end on a page: the bytes after its end must stay zero. */
function sizeOf(kind: FileKind, size: number): number {
  return kind === 'sealed' ? Math.max(0, size - 123) : size;
}

/** Bytes that will be written into a file. */
export function bytesToWrite({ kind, size }: FilePlan): number {
  return kind === 'sparse' ? Math.floor(size / ISLAND_STRIDE) * ISLAND : size;
}

/** Makes a file and fills it with pseudo-random bytes from `seed`. */
export async function makeFile(
  shmem: Shmem,
  plan: FilePlan,
  seed: number,
  progress: Progress,
): Promise<ShmemFile> {
  const file = shmem.memfdCreate(`demo-${plan.kind}`, MFD_ALLOW_SEALING);
  if (plan.huge) file.adviseHuge();
  file.truncate(plan.size);
  const words = new Uint32Array(Math.ceil(Math.min(CHUNK, plan.size) / 4));
  const bytes = new Uint8Array(words.buffer);
  const [length, stride] = plan.kind === 'sparse' ? [ISLAND, ISLAND_STRIDE] : [CHUNK, CHUNK];
  let state = seed;
  for (let at = 0; at < plan.size; at += stride) {
    const part = bytes.subarray(0, Math.min(length, plan.size - at));
    if (plan.kind === 'sparse' && part.length < ISLAND) break;
    state = fillRandom(words.subarray(0, Math.ceil(part.length / 4)), state);
    file.pwrite(part, at);
    progress.add(part.length);
    await turn(); // signals and the progress bar get their turn
  }
  if (plan.kind === 'sealed') file.addSeals(SEAL_SHRINK | SEAL_GROW | SEAL_SEAL);
  file.seek(Math.min(4096, plan.size));
  return file;
}

/** SHA-256 of the whole file, read through it. */
export async function hashFile(file: ShmemFile, progress: Progress): Promise<string> {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(Math.min(CHUNK, file.size)); // of thousands of small files, each a small one
  for (let at = 0; at < file.size;) {
    const read = file.pread(buffer, at);
    hash.update(buffer.subarray(0, read));
    progress.add(read);
    at += read;
    await turn();
  }
  return hash.digest('hex');
}
