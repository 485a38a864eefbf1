/**
 * The versions that are read, the newest first: the one place that chooses by version. A new layout
 * is a file beside this one, and a word in these lists.
 */
import { KernelError } from '@liveupdate/base';
import type { KhoFormat, LuoFormat, MemfdFormat } from './format.ts';
import { khoV4 } from './kho-v4.ts';
import { luoV5 } from './luo-v5.ts';
import { memfdV1 } from './memfd-v1.ts';
import { memfdV2 } from './memfd-v2.ts';

export const KHO_FORMATS: readonly KhoFormat[] = [khoV4];
export const LUO_FORMATS: readonly LuoFormat[] = [luoV5];
export const MEMFD_FORMATS: readonly MemfdFormat[] = [memfdV2, memfdV1];

function chosen<T extends { readonly compatible: string }>(
  formats: readonly T[],
  compatible: string,
): T | undefined {
  return formats.find((format) => format.compatible === compatible);
}

export function khoFormat(compatible: string): KhoFormat | undefined {
  return chosen(KHO_FORMATS, compatible);
}

export function luoFormat(compatible: string): LuoFormat | undefined {
  return chosen(LUO_FORMATS, compatible);
}

export function memfdFormat(compatible: string): MemfdFormat | undefined {
  return chosen(MEMFD_FORMATS, compatible);
}

/** Names what a kernel of another version wrote. */
export function otherVersion(
  what: string,
  compatible: string,
  known: readonly { readonly compatible: string }[],
): KernelError {
  const read = known.map((format) => `'${format.compatible}'`).join(' and ');
  return new KernelError(
    'EINVAL',
    `${what} '${compatible}', this reads ${read}: open ${what.endsWith('are') ? 'them' : 'it'} with the program that knows it`,
  );
}
