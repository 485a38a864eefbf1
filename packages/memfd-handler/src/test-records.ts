/**
 * Handovers to damage: a record of a memfd, found by the offsets of the ABI and without the code
 * that reads it.
 */
import type { EntryRecord } from '@liveupdate/kho';
import { overlayRam, type Ram } from '@liveupdate/mm';
import type { ShmemFile } from '@liveupdate/shmem';
import { coldKernel, nextKernel, type MountOptions, type TestKernel } from './test-kernel.ts';

/** One file under token 1 of session 's', handed over. */
export interface HandedOver {
  readonly ram: Ram;
  readonly entry: EntryRecord;
  /** pa of the memfd's record, and of the first page of its folio array; 0 where there is none. */
  readonly record: number;
  readonly array: number;
  readonly chunk: number;
  readonly freePages: number;
}

export function wordAt(ram: Ram, pa: number): DataView {
  const bytes = ram.bytes(pa, 8);
  return new DataView(bytes.buffer, bytes.byteOffset, 8);
}

function readWord(ram: Ram, pa: number): number {
  return Number(wordAt(ram, pa).getBigUint64(0, true));
}

export function writeWord(ram: Ram, pa: number, value: bigint | number): void {
  wordAt(ram, pa).setBigUint64(0, BigInt(value), true);
}

/** Hands over what `make` makes; another small file is in the session too, under token 2. */
export async function handOver(
  make: (file: ShmemFile) => void,
  mount: MountOptions = {},
): Promise<HandedOver> {
  const { kho, luo, shmem } = coldKernel(mount, 8 * 2 ** 20);
  const { freePages } = kho.pages;
  const session = luo.createSession('s');
  const file = shmem.memfdCreate('f', 2);
  make(file);
  await session.preserve(file, 1);
  const other = shmem.memfdCreate('other');
  other.write(Uint8Array.of(1, 2, 3));
  await session.preserve(other, 2);
  await luo.reboot();
  const record = Number(session.files[0].data);
  const chunk = readWord(kho.ram, record + 32);
  return {
    ram: kho.ram,
    entry: kho.entry,
    record,
    chunk,
    array: chunk === 0 ? 0 : readWord(kho.ram, chunk + 8),
    freePages,
  };
}

/** The next kernel, on a copy of the handover that `harm` has damaged. */
export function bootDamaged(
  { ram, entry }: HandedOver,
  harm: (ram: Ram) => void,
  mount: MountOptions = {},
): TestKernel {
  const copy = overlayRam(ram);
  harm(copy);
  return nextKernel({ kho: { ram: copy, entry } }, mount);
}
