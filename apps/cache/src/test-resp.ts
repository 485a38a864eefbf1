/** Replies as a client reads them, for tests: by the specification, apart from reply.ts. */

/** A reply: an error is an object, so that it can stand in an array. */
export type Value =
  string | number | bigint | null | Value[] | { readonly error: string } | { readonly map: [Value, Value][] };

/** What stands at a place, and where the next begins; undefined: it is not all there. */
export function decode(bytes: Buffer, at = 0): { readonly value: Value; readonly end: number } | undefined {
  const lineEnd = bytes.indexOf('\r\n', at, 'latin1');
  if (lineEnd < 0) return undefined;
  const line = bytes.toString('latin1', at + 1, lineEnd);
  const end = lineEnd + 2;
  switch (String.fromCharCode(bytes[at])) {
    case '+':
      return { value: line, end };
    case '-':
      return { value: { error: line }, end };
    case ':':
      return { value: Number.isSafeInteger(Number(line)) ? Number(line) : BigInt(line), end };
    case '_':
      return { value: null, end };
    case '$':
    case '=': {
      const length = Number(line);
      if (length < 0) return { value: null, end };
      if (bytes.length < end + length + 2) return undefined;
      return { value: bytes.toString('latin1', end, end + length), end: end + length + 2 };
    }
    case '*':
    case '~':
      return Number(line) < 0 ? { value: null, end } : several(bytes, end, Number(line));
    case '%': {
      const found = several(bytes, end, 2 * Number(line));
      if (!found) return undefined;
      const map = Array.from({ length: Number(line) }, (_, i): [Value, Value] => [
        found.value[2 * i],
        found.value[2 * i + 1],
      ]);
      return { value: { map }, end: found.end };
    }
    default:
      throw new Error(`no reply begins like this: ${bytes.toString('latin1', at, at + 40)}`);
  }
}

function several(
  bytes: Buffer,
  from: number,
  count: number,
): { readonly value: Value[]; readonly end: number } | undefined {
  const value: Value[] = [];
  let at = from;
  for (let i = 0; i < count; i++) {
    const next = decode(bytes, at);
    if (!next) return undefined;
    value.push(next.value);
    at = next.end;
  }
  return { value, end: at };
}

/** A request, as an array of strings. */
export function encode(...words: readonly (string | number | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word), 'latin1');
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}
