/** Tokens, by which the next kernel finds files, and lists of files under tokens. */
import { KernelError, shown } from '@liveupdate/base';
import { asU64 } from './callbacks.ts';
import type { PreservableFile } from './handler.ts';

export type FilePair = readonly [token: bigint, file: PreservableFile];

/** @throws KernelError EINVAL: not pairs of a token and a file */
export function checkPairs(given: unknown): FilePair[] {
  const list = given as Iterable<unknown> | null | undefined;
  if (typeof list !== 'object' || typeof list?.[Symbol.iterator] !== 'function')
    throw new KernelError(
      'EINVAL',
      `${shown(given)} is no list of pairs: give a Map from token to file, or [[token, file], …]`,
    );
  return Array.from(list, (pair): FilePair => {
    if (!Array.isArray(pair) || pair.length !== 2)
      throw new KernelError('EINVAL', `${shown(pair)} is no pair of a token and a file: [token, file]`);
    return [checkToken(pair[0] as bigint), pair[1] as PreservableFile];
  });
}

/** Below this a number says the same as a bigint. */
const SMALL = 2n ** 30n;

/** What a Map keeps a token by: it finds numbers in a third of the time that bigints take. */
export function keyOf(token: bigint): bigint | number {
  return token < SMALL ? Number(token) : token;
}

/** A token as the ABI has it: 64 bits. */
export function checkToken(token: bigint | number): bigint {
  const value = asU64(token);
  if (value === undefined)
    throw new KernelError(
      'EINVAL',
      `${shown(token)} is no token: use a whole number or a bigint of at most 64 bits`,
    );
  return value;
}
