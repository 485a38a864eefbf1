/** One preserved file, read from what an image leaves. */
import { HUGE_ORDER, KernelError, pagesFor } from '@liveupdate/base';
import type { FileRecord } from '@liveupdate/luo-core';
import type { FolioList, MemfdRecord } from '@liveupdate/memfd-handler';
import type { FileContent } from './file-content.ts';
import { memfdFormat } from './formats/index.ts';
import type { Left } from './left.ts';

/** A memfd. */
export interface PreservedMemfd {
  /** Where its record begins. */
  readonly pa: number;
  readonly record: MemfdRecord;
  readonly content: FileContent;
}

export function isMemfd({ compatible }: Pick<FileRecord, 'compatible'>): boolean {
  return memfdFormat(compatible) !== undefined;
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
 * @throws KernelError EINVAL, EFAULT, EOVERFLOW: it is damaged, or no memfd
 */
export function readPreserved({ ram, orderOf }: Left, file: FileRecord): PreservedMemfd {
  const pa = recordAddress(file);
  const format = memfdFormat(file.compatible);
  if (!format)
    throw new KernelError('EINVAL', `'${file.compatible}' is no version of a memfd that is read here`);
  const record = format.read(ram, pa);
  if (!orderOf) {
    const folios = format.folios(ram, record, () => 0);
    return {
      pa,
      record,
      content: { ram, size: record.size, folios, orders: likelyOrders(folios, record.size) },
    };
  }
  const orders: number[] = [];
  const folios = format.folios(ram, record, (pfn) => {
    const order = orderOf(pfn);
    orders.push(order);
    return order;
  });
  return { pa, record, content: { ram, size: record.size, folios, orders: Uint8Array.from(orders) } };
}

/**
 * Orders of folios by their places alone: huge where one has the room and lies as huge pages do, a
 * page each where not.
 */
function likelyOrders({ pfns, indices }: FolioList, size: number): Uint8Array {
  const huge = 2 ** HUGE_ORDER;
  const end = Math.ceil(pagesFor(size) / huge) * huge;
  return Uint8Array.from(pfns, (pfn, i) => {
    const next = i + 1 < indices.length ? indices[i + 1] : end;
    const isHuge = pfn % huge === 0 && indices[i] % huge === 0 && next - indices[i] >= huge;
    return isHuge ? HUGE_ORDER : 0;
  });
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
