/**
 * Hostile images: the handover captured from Linux and one of our own, damaged in every structure
 * page that there is. Reading all of it ends in a KernelError or in records, within bounded looks
 * at RAM, and changes nothing; a kernel that boots on it and takes its files stays whole. Run again
 * what failed with LIVEUPDATE_SEED.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { KernelError, PAGE_SIZE, Prng, type PhysAddr } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { bootHandover, readHandover, type EntryRecord } from '@liveupdate/kho';
import { readLuo } from '@liveupdate/luo-core';
import { ElfCoreRam } from '@liveupdate/memory-image';
import { overlayRam, type Ram } from '@liveupdate/mm';
import { ShmemFile } from '@liveupdate/shmem';
import { expect, test } from 'vitest';
import { damage } from './test-damage.ts';
import { coldKernel, start } from './test-kernel.ts';
import { CountingRam, readFile, structurePages } from './test-read-all.ts';

const MUTATIONS = isQuick ? 2600 : 26_000;

interface Image {
  readonly ram: Ram;
  readonly entry: EntryRecord;
}

function linuxImage(): Image {
  const fixture = (name: string): Buffer =>
    readFileSync(fileURLToPath(new URL(`../../../fixtures/linux-7.3/${name}`, import.meta.url)));
  const { boot } = JSON.parse(fixture('expected.json').toString()) as {
    boot: EntryRecord & { ramSize: number };
  };
  return { ram: new ElfCoreRam(gunzipSync(fixture('handover.elf.gz')), boot.ramSize), entry: boot };
}

/**
 * Files of several kinds: large and small folios, holes, no bytes; enough for two blocks of
 * records.
 */
async function ourImage(): Promise<Image> {
  const { kho, luo, shmem } = coldKernel({}, 8 * 2 ** 20);
  for (const name of ['first', 'second']) {
    const session = luo.createSession(name);
    for (let token = 1; token <= (name === 'first' ? 70 : 3); token++) {
      const file = shmem.memfdCreate(`${name} ${token}`, 2);
      if (token % 5 === 0) file.adviseHuge();
      if (token % 4 !== 0) file.pwrite(new Uint8Array(1 + token * 500).fill(token), (token % 3) * PAGE_SIZE);
      await session.preserve(file, token);
    }
  }
  const blob = kho.preserveBlob(new Uint8Array(30_000).fill(7));
  kho.addSubtree('other', kho.allocPreserve(8 + blob.length).pa, 9000);
  await luo.reboot();
  return { ram: kho.ram, entry: kho.entry };
}

/** Either ends as it should, or the test fails. */
function outcomeOf(work: () => unknown): string {
  try {
    work();
    return 'read';
  } catch (error) {
    if (error instanceof KernelError) return error.code;
    throw error;
  }
}

/** A changed entry record, now and then. */
function harmEntry(entry: EntryRecord, random: Prng, pages: readonly PhysAddr[]): EntryRecord {
  if (random.below(20) !== 0) return entry;
  const fields = ['fdtAddr', 'fdtSize', 'scratchAddr', 'scratchSize'] as const;
  const values = [
    0,
    1,
    16,
    4096,
    4097,
    2 ** 40,
    2 ** 53 - 4096,
    pages[random.below(pages.length)],
    entry.fdtAddr + 8,
  ];
  return { ...entry, [fields[random.below(4)]]: values[random.below(values.length)] };
}

/**
 * A kernel on a copy of the image takes every file over, or refuses; whatever it does, it stays
 * whole.
 */
async function bootAndTake({ ram, entry }: Image): Promise<string> {
  const copy = overlayRam(ram);
  let kernel;
  try {
    kernel = start(bootHandover(copy, readHandover(copy, entry), { freeMemory: 'keep' }));
    for (const session of kernel.luo.incomingSessions) {
      for (const { token } of session.files) {
        await session.retrieve(token, ShmemFile).catch((error: unknown) => {
          if (!(error instanceof KernelError)) throw error;
        });
      }
      kernel.kho.pages.assertConsistent();
      await session.finish();
    }
    kernel.kho.commit();
    return 'taken';
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return error.code;
  } finally {
    kernel?.kho.pages.assertConsistent();
    copy.close();
  }
}

async function fuzz(image: Image, mutations: number, boots: number): Promise<Map<string, number>> {
  const random = new Prng(seed);
  const { kho, luo, files } = structurePages(image.ram, image.entry);
  const filePages = files.flatMap(({ pages }) => pages);
  const limit = 20_000 + image.ram.size / PAGE_SIZE;
  const wholeness = (): unknown[] => [...kho, ...luo, ...filePages].map((pa) => Buffer.from(image.ram.bytes(pa, PAGE_SIZE)).toString('latin1')); // prettier-ignore
  const before = wholeness();
  const outcomes = new Map<string, number>();
  for (let i = 0; i < mutations; i++) {
    const targets = [kho, luo, filePages, [...kho, ...luo]][random.below(4)];
    const { undo, harmed } = damage(image.ram, targets, random);
    const entry = harmEntry(image.entry, random, kho);
    const ram = new CountingRam(image.ram, limit);
    try {
      let what = outcomeOf(() => {
        const handover = readHandover(ram, entry);
        const records = readLuo(ram, handover);
        const read = new Set(records?.sessions.flatMap((session) => session.files));
        // Those that were harmed, as long as they are found, and some others.
        const some = [...read].filter(({ data }, at) => at % 31 === i % 31 || harmed.includes(Number(data)));
        const hit = files
          .filter(({ pages }) => pages.some((pa) => harmed.includes(pa)))
          .map(({ file }) => file);
        for (const file of [...some, ...hit]) readFile(ram, handover, file);
      });
      if (i % Math.floor(mutations / boots) === 0)
        what = `boot: ${await bootAndTake({ ram: image.ram, entry })}`;
      outcomes.set(what, (outcomes.get(what) ?? 0) + 1);
    } catch (error) {
      throw new Error(`mutation ${i} of seed ${seed}`, { cause: error });
    }
    undo();
  }
  expect(wholeness()).toEqual(before); // reading changes nothing
  return outcomes;
}

function expectVariety(outcomes: Map<string, number>): void {
  // A fuzz whose damage is never met, or always, proves nothing.
  for (const code of ['read', 'EINVAL', 'EOVERFLOW', 'boot: taken', 'boot: EINVAL'])
    expect([code, outcomes.get(code) ?? 0]).toEqual([code, expect.toSatisfy((count: number) => count > 0)]);
}

test(`${MUTATIONS} mutations of the handover of Linux`, async () => {
  expectVariety(await fuzz(linuxImage(), MUTATIONS, 60));
});

test(`${MUTATIONS} mutations of a handover of ours`, async () => {
  expectVariety(await fuzz(await ourImage(), MUTATIONS, 260));
});
