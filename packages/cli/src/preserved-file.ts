/** One preserved file, read from what an image leaves. */
import { KernelError } from '@liveupdate/base';
import type { FileRecord } from '@liveupdate/luo-core';
import {
  MEMFD_V1,
  MEMFD_V2,
  readMemfdFolios,
  readMemfdRecord,
  type MemfdRecord,
} from '@liveupdate/memfd-handler';
import type { FileContent } from './file-content.ts';
import type { Left } from './left.ts';

/** A memfd. */
export interface PreservedMemfd {
  /** Where its record begins. */
  readonly pa: number;
  readonly record: MemfdRecord;
  readonly content: FileContent;
}

export function isMemfd({ compatible }: FileRecord): boolean {
  return compatible === MEMFD_V1 || compatible === MEMFD_V2;
}

/** Address of a handler's record. @throws KernelError EINVAL: no address */
function recordAddress({ data }: FileRecord): number {
  if (data > BigInt(Number.MAX_SAFE_INTEGER))
    throw new KernelError('EINVAL', `its data 0x${data.toString(16)} is no address: the record is damaged`);
  return Number(data);
}

/**
 * Reads the record of a memfd, and which folios it has.
 *
 * @throws KernelError EINVAL, EFAULT, EOVERFLOW: it is damaged
 */
export function readPreserved({ ram, orderOf }: Left, file: FileRecord): PreservedMemfd {
  const pa = recordAddress(file);
  const record = readMemfdRecord(ram, pa, file.compatible);
  const orders: number[] = [];
  const folios = readMemfdFolios(ram, record, (pfn) => {
    const order = orderOf(pfn);
    orders.push(order);
    return order;
  });
  return { pa, record, content: { ram, size: record.size, folios, orders: Uint8Array.from(orders) } };
}

/** Whether two readings of a file found the same pages. */
export function isSameFile(a: PreservedMemfd, b: PreservedMemfd): boolean {
  const [x, y] = [a.content, b.content];
  return (
    a.pa === b.pa &&
    x.size === y.size &&
    sameNumbers(x.orders, y.orders) &&
    sameNumbers(x.folios.pfns, y.folios.pfns) &&
    sameNumbers(x.folios.indices, y.folios.indices)
  );
}

function sameNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** What a failure says without its code, which comes first in its message. */
export function reasonOf({ message, code }: KernelError): string {
  return message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message;
}
