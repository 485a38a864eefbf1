/**
 * Values of options: text from a command line to numbers, or a UsageError that names the option.
 */
import { KernelError, parseSize } from '@liveupdate/base';
import type { EntryRecord } from '@liveupdate/kho';
import { LEAST_RAM_PAGES } from '@liveupdate/kho';
import { checkRamSize } from '@liveupdate/mm';
import { UsageError } from './usage-error.ts';

/** A parser of sizes above 0, such as `2GiB`. */
export function sizeValue(option: string): (text: string) => number {
  return (text) => {
    try {
      const size = parseSize(text);
      if (size > 0) return size;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
    }
    throw new UsageError(
      `${option}: '${text}' is no size: write a number of bytes, or one such as 512MiB or 2GiB`,
    );
  };
}

/** A parser of sizes of a RAM: whole pages, as many as one RAM may have. */
export function ramSizeValue(option: string): (text: string) => number {
  const parse = sizeValue(option);
  return (text) => {
    const size = parse(text);
    try {
      checkRamSize(size, LEAST_RAM_PAGES);
      return size;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      throw new UsageError(`${option}: ${error.message.replace(`${error.code}: `, '')}`);
    }
  };
}

/**
 * A parser of words that stand for something: any but an empty one, which a variable of the shell
 * may be.
 */
export function wordValue(argument: string): (text: string) => string {
  return (text) => {
    if (text !== '') return text;
    throw new UsageError(`${argument} is empty: is the variable set that it was to come from?`);
  };
}

/** A parser of whole numbers from `least` on. */
export function countValue(option: string, least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least)
      throw new UsageError(
        `${option}: '${text}' is no number from ${least} up: write one such as ${least + 1}`,
      );
    return value;
  };
}

/** Which file of a RAM is meant. */
export interface FileName {
  readonly session: string;
  readonly token: bigint;
}

/**
 * `session/token`, such as `service/1`. A session's name may have slashes itself.
 *
 * @throws UsageError: it is none
 */
export function fileName(text: string): FileName {
  const slash = text.lastIndexOf('/');
  const token = text.slice(slash + 1);
  if (slash > 0 && /^(?:0x[\da-f]+|\d+)$/i.test(token) && BigInt(token) < 2n ** 64n)
    return { session: text.slice(0, slash), token: BigInt(token) };
  throw new UsageError(
    `'${text}' names no file: write session/token, such as service/1, with a token of at most 64 bits`,
  );
}

/** A file of a disk, and what it is in a handover. */
export interface ImageFile extends FileName {
  readonly from: string;
}

/** `session/token=file`. @throws UsageError: it is none */
export function imageFile(text: string): ImageFile {
  const equals = text.indexOf('=');
  if (equals > 0 && equals < text.length - 1)
    return { ...fileName(text.slice(0, equals)), from: text.slice(equals + 1) };
  throw new UsageError(`'${text}' names no file of a disk: write session/token=file, such as vm/1=state.bin`);
}

/** State that files share: its name, and the number in its record. */
export interface ImageFlb {
  readonly name: string;
  readonly data: bigint;
}

/** A parser of `name=data`, given once or more. */
export function flbValue(option: string): (text: string, before: readonly ImageFlb[]) => ImageFlb[] {
  return (text, before) => {
    const found = /^(.+)=(0x[\da-f]+|\d+)$/i.exec(text);
    if (!found || BigInt(found[2]) >= 2n ** 64n)
      throw new UsageError(`${option}: '${text}' is no FLB: write name=data, such as iommu-v1=0x1000`);
    return [...before, { name: found[1], data: BigInt(found[2]) }];
  };
}

/**
 * A parser of `fdtAddr,scratchAddr[,scratchSize]`. Without the size it is 0: as many areas as there
 * are.
 */
export function entryValue(option: string): (text: string) => EntryRecord {
  return (text) => {
    const numbers = text
      .split(',')
      .map((part) => (/^(?:0x[\da-f]+|\d+)$/i.test(part) ? Number(part) : Number.NaN));
    if ((numbers.length !== 2 && numbers.length !== 3) || !numbers.every(Number.isSafeInteger))
      throw new UsageError(
        `${option}: '${text}' is no entry: write fdtAddr,scratchAddr or fdtAddr,scratchAddr,scratchSize, such as 0x4d8000,0xf3f0000,48`,
      );
    const [fdtAddr, scratchAddr, scratchSize = 0] = numbers;
    return { fdtAddr, fdtSize: 4096, scratchAddr, scratchSize };
  };
}
