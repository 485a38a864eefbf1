/** One generation that hands over what it was handed: nothing of it may be lost. */
import { KernelError, PAGE_SIZE, formatSize } from '@liveupdate/base';
import type { Kernel } from '@liveupdate/kexec';
import { readHandover } from '@liveupdate/kho';
import { readLuo } from '@liveupdate/luo-core';
import { readMemfdRecord, readMemfdRuns } from '@liveupdate/memfd-handler';
import { SCRATCH } from '@liveupdate/mm';
import { isMemfd, recordAddress } from './inspection.ts';
import { openImage, type OpenImage } from './open-image.ts';

/** Pages that a generation needs beside what it was handed and hands over. */
const PAGES_TO_RUN = 64;

/** Every session of the generation before, with all of its files, for the next one. */
export async function takeAlong({ luo }: Kernel): Promise<void> {
  for (const incoming of luo.incomingSessions) {
    const { name } = incoming;
    const retrieved = luo.retrieveSession(name);
    const session = luo.createSession(name);
    for (const { token } of retrieved.files) await session.preserve(await retrieved.retrieve(token), token);
    await retrieved.finish();
  }
}

/**
 * Makes sure that what is in a RAM can be handed over again by the next generation: while that does so, there may be two of each record. A RAM
 * that is not handed over is left to Machine.open.
 *
 * @throws KernelError ENOMEM: there is no room for it. EINVAL and others: the handover is damaged. The RAM is not touched.
 */
export async function checkRoomToTakeAlong(path: string): Promise<void> {
  using image = await handedOver(path);
  if (!image) return;
  const { ram } = image;
  const handover = readHandover(ram, image.entry);
  const { table, structure, preservedByOrder } = handover;
  let records = structure.length;
  for (const [order, count] of preservedByOrder) records += count * 2 ** order;
  for (const { files } of readLuo(ram, handover)?.sessions ?? []) {
    for (const file of files.filter(isMemfd)) {
      const record = readMemfdRecord(ram, recordAddress(file), file.compatible);
      records -= readMemfdRuns(ram, record, table).pages;
    }
  }
  let free = -structure.length; // which the table has as free
  table.forEachFreeRun((pfn, count) => {
    if ((table.flagsOf(pfn) & SCRATCH) === 0) free += count;
  });
  if (free >= records + PAGES_TO_RUN) return;
  throw new KernelError(
    'ENOMEM',
    `this RAM has ${formatSize(Math.max(0, free) * PAGE_SIZE)} free, and ${formatSize((records + PAGES_TO_RUN) * PAGE_SIZE)} are needed to hand over again what is in it: nothing was done; let its program give files up first`,
  );
}

/** The handover in a RAM; undefined where there is none. */
async function handedOver(path: string): Promise<OpenImage | undefined> {
  try {
    return await openImage(path);
  } catch (error) {
    const isNone = error instanceof KernelError && ['ENODATA', 'EBUSY', 'EIO'].includes(error.code);
    if (isNone) return undefined;
    throw error;
  }
}
