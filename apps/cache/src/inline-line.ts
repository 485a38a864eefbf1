/** A line as a person types it, in words: with quotes and escapes, as Redis has them. */

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['b', '\b'],
  ['a', '\x07'],
]);

const isSpace = (letter: string): boolean => /^[\s\0]$/.test(letter);

/** Undefined: a quote is not closed, or something follows its end without a space. */
export function splitLine(bytes: Buffer): Buffer[] | undefined {
  const text = bytes.toString('latin1');
  const words: Buffer[] = [];
  let at = 0;
  for (;;) {
    while (at < text.length && isSpace(text[at])) at += 1;
    if (at === text.length) return words;
    const word = readWord(text, at);
    if (!word) return undefined;
    words.push(Buffer.from(word.text, 'latin1'));
    at = word.end;
  }
}

interface Word {
  readonly text: string;
  readonly end: number;
}

function readWord(line: string, from: number): Word | undefined {
  let text = '';
  let at = from;
  while (at < line.length && !isSpace(line[at])) {
    const letter = line[at];
    if (letter !== '"' && letter !== "'") {
      text += letter;
      at += 1;
      continue;
    }
    const quoted = letter === '"' ? readDouble(line, at + 1) : readSingle(line, at + 1);
    if (!quoted || (quoted.end < line.length && !isSpace(line[quoted.end]))) return undefined;
    return { text: text + quoted.text, end: quoted.end };
  }
  return { text, end: at };
}

/** Between double quotes: with `\xHH`, `\n` and others. */
function readDouble(line: string, from: number): Word | undefined {
  let text = '';
  for (let at = from; at < line.length; at++) {
    if (line[at] === '"') return { text, end: at + 1 };
    if (line[at] !== '\\' || at + 1 === line.length) {
      text += line[at];
      continue;
    }
    const hex = /^x([\da-f]{2})/i.exec(line.slice(at + 1, at + 4));
    if (hex) {
      text += String.fromCharCode(Number.parseInt(hex[1], 16));
      at += 3;
    } else {
      at += 1;
      text += ESCAPES.get(line[at]) ?? line[at];
    }
  }
  return undefined;
}

/** Between single quotes: with `\'` alone. */
function readSingle(line: string, from: number): Word | undefined {
  let text = '';
  for (let at = from; at < line.length; at++) {
    if (line[at] === "'") return { text, end: at + 1 };
    if (line[at] === '\\' && line[at + 1] === "'") at += 1;
    text += line[at];
  }
  return undefined;
}
