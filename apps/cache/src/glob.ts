/**
 * Patterns of keys: `*`, `?`, `[a-z]`, `[^a]` and `\`. The time is at worst that of the pattern
 * times that of the text.
 */

const [STAR, QUESTION, OPEN, CLOSE, CARET, DASH, BACKSLASH] = Buffer.from('*?[]^-\\');

/** What stands at one place of a pattern: whether it fits a byte, and where the next one is. */
interface Place {
  readonly fits: (byte: number) => boolean;
  readonly end: number;
}

/** Whether all of a text is what a pattern says. */
export function matches(pattern: Uint8Array, text: Uint8Array): boolean {
  let at = 0;
  let from = 0;
  /** Behind the last star, and where in the text it was tried to go on there. */
  let star = -1;
  let tried = 0;
  while (from < text.length) {
    if (at < pattern.length && pattern[at] === STAR) {
      at += 1;
      star = at;
      tried = from;
      continue;
    }
    const place = at < pattern.length ? placeAt(pattern, at) : undefined;
    if (place?.fits(text[from])) {
      at = place.end;
      from += 1;
    } else if (star >= 0) {
      at = star;
      tried += 1;
      from = tried;
    } else {
      return false;
    }
  }
  while (at < pattern.length && pattern[at] === STAR) at += 1;
  return at === pattern.length;
}

function placeAt(pattern: Uint8Array, at: number): Place {
  const byte = pattern[at];
  if (byte === QUESTION) return { fits: () => true, end: at + 1 };
  if (byte === OPEN) return bracket(pattern, at + 1);
  const isEscape = byte === BACKSLASH && at + 1 < pattern.length;
  const wanted = isEscape ? pattern[at + 1] : byte;
  return { fits: (other) => other === wanted, end: at + (isEscape ? 2 : 1) };
}

/** One that is not closed goes to the end of the pattern. */
function bracket(pattern: Uint8Array, from: number): Place {
  const isInverse = pattern[from] === CARET;
  const ranges: [number, number][] = [];
  let at = isInverse ? from + 1 : from;
  for (; at < pattern.length && pattern[at] !== CLOSE; at++) {
    if (pattern[at] === BACKSLASH && at + 1 < pattern.length) at += 1;
    else if (pattern[at + 1] === DASH && at + 2 < pattern.length) {
      const [low, high] = [pattern[at], pattern[at + 2]].sort((a, b) => a - b);
      ranges.push([low, high]);
      at += 2;
      continue;
    }
    ranges.push([pattern[at], pattern[at]]);
  }
  const isIn = (byte: number): boolean => ranges.some(([low, high]) => byte >= low && byte <= high);
  return { fits: (byte) => isIn(byte) !== isInverse, end: Math.min(at + 1, pattern.length) };
}
