/**
 * A handover to damage: where the records of its sessions lie, found without the code that reads
 * them.
 */
import { readHandover, type EntryRecord, type Handover } from '@liveupdate/kho';
import { overlayRam, type Ram } from '@liveupdate/mm';
import { coldKernel, Counter } from './test-kernel.ts';

/** A handover that stays as it is. */
export interface Original {
  readonly ram: Ram;
  readonly entry: EntryRecord;
}

/** A copy of it, to be damaged. */
export interface Records {
  readonly ram: Ram;
  readonly handover: Handover;
  /**
   * pa of the LUO record, of the block of sessions, of the blocks of files of both sessions, of a
   * counter's record.
   */
  readonly pa: {
    readonly luo: number;
    readonly sessions: number;
    readonly a: number;
    readonly b: number;
    readonly data: number;
  };
}

function viewOf(ram: Ram, pa: number): DataView {
  const bytes = ram.bytes(pa, 8);
  return new DataView(bytes.buffer, bytes.byteOffset, 8);
}

export function readWord(ram: Ram, pa: number): number {
  return Number(viewOf(ram, pa).getBigUint64(0, true));
}

export function writeWord(ram: Ram, pa: number, value: bigint | number): void {
  viewOf(ram, pa).setBigUint64(0, BigInt(value), true);
}

/** Sessions 'a' with tokens 1 and 2, and 'b' with token 3, handed over. */
export async function handedOver(): Promise<Original> {
  const { luo, kho } = coldKernel(2 ** 20);
  const a = luo.createSession('a');
  await a.preserve(new Counter(11), 1);
  await a.preserve(new Counter(22), 2);
  await luo.createSession('b').preserve(new Counter(33), 3);
  await luo.reboot();
  return { ram: kho.ram, entry: kho.entry };
}

export function copyOf(original: Original): Records {
  const ram = overlayRam(original.ram);
  const handover = readHandover(ram, original.entry);
  const luo = handover.subtrees.get('LUO')?.pa ?? 0;
  const sessions = readWord(ram, luo + 16);
  const a = readWord(ram, sessions + 16 + 64);
  const b = readWord(ram, sessions + 16 + 80 + 64);
  return { ram, handover, pa: { luo, sessions, a, b, data: readWord(ram, a + 16 + 48) } };
}
