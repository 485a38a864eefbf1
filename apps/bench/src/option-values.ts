/** Values of the command's options, checked. */
import { parseSize } from '@liveupdate/base';
import { InvalidArgumentError } from 'commander';
import type { Trial } from './runner.ts';
import { TRIALS } from './trials.ts';
import { MAX_FOLIO_SIZE } from '@liveupdate/base';

const LEAST_SIZE = 16 * 2 ** 20;

/** @throws InvalidArgumentError what `--size` takes is said in it */
export function size(text: string): number {
  try {
    const bytes = parseSize(text);
    if (bytes < LEAST_SIZE || bytes % (8 * MAX_FOLIO_SIZE) !== 0) throw new RangeError('whole 16 MiB');
    return bytes;
  } catch {
    throw new InvalidArgumentError('Multiples of 16 MiB, such as 512MiB or 2GiB.');
  }
}

/** @throws InvalidArgumentError one of them is no size */
export function listOfSizes(text: string): readonly number[] {
  return text.split(',').map(size);
}

/** @throws InvalidArgumentError no whole number in its range */
export function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000)
    throw new InvalidArgumentError('A number from 1 to 1000.');
  return value;
}

/** Adds a trial to those named before. @throws InvalidArgumentError there is none of that name */
export function trialNamed(name: string, before: readonly Trial[] = []): readonly Trial[] {
  const trial = TRIALS.find((each) => each.name === name);
  if (!trial) throw new InvalidArgumentError(`There are: ${TRIALS.map((each) => each.name).join(', ')}.`);
  return [...before, trial];
}
