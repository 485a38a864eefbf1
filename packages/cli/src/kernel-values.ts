/** Words of `liveupdate kernel` from a command line, or a UsageError that names them. */
import { byteLength } from '@liveupdate/base';
import { MAX_SESSION_NAME } from '@liveupdate/luo-core';
import { UsageError } from './usage-error.ts';

/** A file under a token. */
export interface TokenFile {
  readonly token: bigint;
  /** A path, or `-`. */
  readonly file: string;
}

/**
 * `TOKEN=FILE`, such as `1=state.bin`.
 *
 * @throws UsageError: none; a token twice; `-` twice
 */
export function tokenFiles(words: readonly string[]): TokenFile[] {
  const files = words.map((word) => {
    const equals = word.indexOf('=');
    const token = word.slice(0, equals);
    const file = word.slice(equals + 1);
    if (equals > 0 && file !== '' && /^(?:0x[\da-f]+|\d+)$/i.test(token) && BigInt(token) < 2n ** 64n)
      return { token: BigInt(token), file };
    throw new UsageError(
      `'${word}' is no file under a token: write TOKEN=FILE, such as 1=state.bin, with a token of at most 64 bits`,
    );
  });
  const twice = files.find(({ token }, i) => files.findIndex((each) => each.token === token) !== i);
  if (twice) throw new UsageError(`token ${twice.token} stands for two files: give each its own`);
  if (files.filter(({ file }) => file === '-').length > 1)
    throw new UsageError("'-' stands for two files: there is one standard input, and one output");
  return files;
}

/**
 * A name that a session can have.
 *
 * @throws UsageError: none
 */
export function sessionName(text: string): string {
  const bytes = byteLength(text);
  if (bytes >= 1 && bytes <= MAX_SESSION_NAME) return text;
  throw new UsageError(`'${text}' names no session: a name has 1 to ${MAX_SESSION_NAME} bytes, not ${bytes}`);
}
