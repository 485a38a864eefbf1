/** A handover of random content, made by the ordinary packages for a PC, and what is in it. */
import { createHash } from 'node:crypto';
import { fillRandom, PAGE_SIZE, Prng } from '@liveupdate/base';
import { bootCold, type EntryRecord, type Kho, type ScratchArea } from '@liveupdate/kho';
import { LiveUpdateOrchestrator, type FileLifecycleBound } from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { SparseRam, withMemoryMap, type Ram } from '@liveupdate/mm';
import { MFD_ALLOW_SEALING, Shmem, type ShmemFile } from '@liveupdate/shmem';
import { pcMemoryMap } from '@liveupdate/boot-image';
import type { KeptFile, KeptSession } from './guest/kept.ts';

const MiB = 2 ** 20;
/** Linux has an area for low memory, one for all, and one for each NUMA node. */
const SCRATCH: readonly ScratchArea[] = [
  { addr: 64 * MiB, size: 64 * MiB },
  { addr: 128 * MiB, size: 0 },
  { addr: 128 * MiB, size: 96 * MiB },
];
/** What the FLB test of Linux has in its entries. */
const TEST_FLB_DATA = 0xfeedf00dcafebee0n;
/** What this kernel is called. */
const RELEASE = 'from-typescript';
/** The seals that memfd-v2 carries: SEAL to EXEC. */
const ALL_SEALS = 0x3f;
const F_SEAL_SEAL = 1;
const F_SEAL_WRITE = 8;
const F_SEAL_FUTURE_WRITE = 16;
/** Bytes in which the pages of a large file differ. */
const PAGE_HEAD = 64;

export interface MadeHandover {
  readonly ram: Ram;
  readonly entry: EntryRecord;
  readonly sessions: readonly KeptSession[];
}

export interface MadeOptions {
  readonly seed: number;
  /** MiB of the machine. */
  readonly memory: number;
  readonly sessions: number;
  /** Files of random kinds. */
  readonly files: number;
  /** MiB of one file in pages of 4 KiB: 512 and more need a second chunk of the vmalloc area. */
  readonly large?: number;
}

/** One that is always the same, and soon looked at. */
export const SMALL: MadeOptions = { seed: 11, memory: 320, sessions: 2, files: 8 };

/** The FLBs of Linux's own test (CONFIG_LIVEUPDATE_TEST): it wants them wherever a memfd is. */
export function testFlbs(): FileLifecycleBound[] {
  return [0n, 1n, 2n].map((number) => ({
    compatible: `liveupdate-test-flb-v${number}`,
    preserve: () => ({ data: TEST_FLB_DATA + number, object: number }),
    unpreserve: () => undefined,
    retrieve: () => number,
    finish: () => undefined,
  }));
}

export interface OpenMachine {
  readonly ram: Ram;
  readonly kho: Kho;
  readonly shmem: Shmem;
  readonly luo: LiveUpdateOrchestrator;
}

/** A machine of `memory` MiB that boots cold, and whose handover Linux takes. */
export function openMachine({ memory }: { readonly memory: number }): OpenMachine {
  const ram = withMemoryMap(new SparseRam(memory * MiB), pcMemoryMap(memory * MiB));
  const kho = bootCold(ram, { scratch: SCRATCH, freeMemory: 'zero', release: RELEASE });
  const shmem = new Shmem({ pages: kho.pages });
  const handler = { ...memfdHandler({ kho, shmem }), flbs: testFlbs() };
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [handler] });
  return { ram, kho, shmem, luo };
}

/** Makes a machine, files and sessions, and hands over. */
export async function makeHandover(options: MadeOptions): Promise<MadeHandover> {
  const { seed, memory, sessions: count, files, large = 0 } = options;
  const random = new Prng(seed);
  const { ram, kho, shmem, luo } = openMachine({ memory });
  const sessions = Array.from({ length: count }, (_, i) => ({
    session: luo.createSession(nameOf(i, random)),
    files: [] as KeptFile[],
  }));
  for (let i = 0; i < files; i++) {
    const { session, files: kept } = sessions[random.below(count)];
    const token = tokenOf(i, random);
    const file = randomFile(shmem, random, i);
    await session.preserve(file, token);
    kept.push(describe(file, token));
  }
  if (large > 0) {
    const file = largeFile(shmem, large, random);
    await sessions[0].session.preserve(file, 1n);
    sessions[0].files.push(describe(file, 1n));
  }
  await luo.reboot();
  return {
    ram,
    entry: kho.entry,
    sessions: sessions.map(({ session: { name }, files: kept }) => ({ name, files: kept })),
  };
}

/** Names of every length that there may be. */
function nameOf(i: number, random: Prng): string {
  const end = ['', ' two words', '/path', 'ü', '-'.repeat(50)][random.below(5)];
  return `s${i}${end}`;
}

function tokenOf(i: number, random: Prng): bigint {
  const high = [0n, 0n, 1n << 32n, (1n << 63n) + (1n << 62n)][random.below(4)];
  return high + BigInt(i + 2);
}

/** A file of a kind that `i` chooses: all kinds come in turn. */
function randomFile(shmem: Shmem, random: Prng, i: number): ShmemFile {
  const file = shmem.memfdCreate(`file ${i}`, MFD_ALLOW_SEALING);
  const write = (length: number, at: number): void => {
    const words = new Uint32Array(Math.ceil(length / 4));
    fillRandom(words, 1 + random.below(2 ** 31 - 2));
    file.pwrite(new Uint8Array(words.buffer, 0, length), at);
  };
  switch (i % 6) {
    case 0: // one page, or a part of it
      write(1 + random.below(PAGE_SIZE), 0);
      break;
    case 1: // many pages
      write(1 + random.below(200 * PAGE_SIZE), 0);
      break;
    case 2: // large folios
      file.adviseHuge();
      write(2 * MiB * (1 + random.below(2)), 0);
      break;
    case 3: // holes, at the end too
      for (let k = random.below(6); k >= 0; k--)
        write(1 + random.below(3 * PAGE_SIZE), random.below(2 * MiB));
      file.truncate(file.size + random.below(MiB));
      break;
    case 4: // pages that were allocated and never written
      write(1 + random.below(PAGE_SIZE), 0);
      file.allocate(0, PAGE_SIZE * (2 + random.below(20)));
      break;
    default: // nothing
      if (random.below(2) === 0) file.truncate(random.below(MiB));
  }
  file.seek(random.below(file.size + 2 * PAGE_SIZE));
  if (random.below(2) === 0) {
    const seals = random.below(ALL_SEALS + 1);
    // Files that are sealed against writing cannot be mapped for it; both are carried.
    file.addSeals(seals & ~F_SEAL_SEAL);
    if ((seals & F_SEAL_SEAL) !== 0) file.addSeals(F_SEAL_SEAL);
  } else if (random.below(3) === 0) file.addSeals(F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
  return file;
}

/** A file in single pages; each begins in a way of its own. */
function largeFile(shmem: Shmem, mebibytes: number, random: Prng): ShmemFile {
  const file = shmem.memfdCreate('large');
  const words = new Uint32Array(MiB / 4);
  for (let at = 0; at < mebibytes * MiB; at += MiB) {
    for (let page = 0; page < MiB; page += PAGE_SIZE)
      fillRandom(words.subarray(page / 4, (page + PAGE_HEAD) / 4), 1 + random.below(2 ** 31 - 2));
    file.pwrite(new Uint8Array(words.buffer), at);
  }
  file.seek(12345);
  return file;
}

/** What the next kernel must find. */
export function describe(file: ShmemFile, token: bigint): KeptFile {
  const hash = createHash('sha256');
  const part = new Uint8Array(MiB);
  for (let at = 0; at < file.size; at += part.length) hash.update(part.subarray(0, file.pread(part, at)));
  return {
    token: `${token}`,
    size: file.size,
    position: file.position,
    seals: file.seals,
    sha256: hash.digest('hex'),
  };
}
