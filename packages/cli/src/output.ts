/**
 * Text on its way to a terminal. Names of RAMs, sessions and files, what an image holds and what an
 * error quotes come from outside: nothing in them may move the cursor, change colours or hide what
 * stands beside it.
 */

/**
 * Control and format characters, and the two that break lines: C0, DEL, C1, marks of direction,
 * invisible ones.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const UNSEEN_BUT_NEWLINE = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

function shown(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

/** Text of one line with what cannot be seen made visible. */
export function printable(text: string): string {
  return text.replace(UNSEEN, shown);
}

/** The same for text of several lines. */
export function printableLines(text: string): string {
  return text.replace(UNSEEN_BUT_NEWLINE, shown);
}

/** Prints a line on standard output. */
export function printLine(text: string): void {
  process.stdout.write(`${printable(text)}\n`);
}

/**
 * Prints a value as JSON on standard output. Strings keep every character: those that cannot be
 * seen are escaped.
 */
export function printJson(value: unknown): void {
  const text = JSON.stringify(value, undefined, 2);
  const units = (character: string): string =>
    Array.from(
      { length: character.length },
      (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`,
    ).join('');
  process.stdout.write(`${text.replace(UNSEEN_BUT_NEWLINE, units)}\n`);
}
