/** Replies in both versions of the protocol, byte by byte. */
import { expect, test } from 'vitest';
import { Reply, type ProtocolVersion } from './reply.ts';

function said(version: ProtocolVersion, say: (reply: Reply) => void): string {
  const reply = new Reply();
  reply.version = version;
  say(reply);
  return reply.said().toString('latin1');
}

test.each<[name: string, say: (reply: Reply) => void, resp2: string, resp3?: string]>([
  ['a status', (reply) => reply.status('OK'), '+OK\r\n'],
  ['an error has one line', (reply) => reply.error('ERR a\r\nb'), '-ERR a  b\r\n'],
  ['0', (reply) => reply.integer(0), ':0\r\n'],
  ['9 and 10', (reply) => [9, 10].map((n) => reply.integer(n)), ':9\r\n:10\r\n'],
  ['less than nothing', (reply) => reply.integer(-12), ':-12\r\n'],
  ['2 ** 53 - 1', (reply) => reply.integer(Number.MAX_SAFE_INTEGER), ':9007199254740991\r\n'],
  ['64 bits', (reply) => reply.integer(2n ** 63n - 1n), ':9223372036854775807\r\n'],
  ['bytes', (reply) => reply.bulk(Buffer.from([0, 13, 10, 255])), '$4\r\n\0\r\n\xff\r\n'],
  ['text', (reply) => reply.text('é'), '$2\r\n\xc3\xa9\r\n'],
  ['nothing', (reply) => reply.nothing(), '$-1\r\n', '_\r\n'],
  ['no array', (reply) => reply.noArray(), '*-1\r\n', '_\r\n'],
  ['an array', (reply) => reply.texts(['a', 'b']), '*2\r\n$1\r\na\r\n$1\r\nb\r\n'],
  ['a map', (reply) => reply.map(3), '*6\r\n', '%3\r\n'],
  ['a set', (reply) => reply.set(3), '*3\r\n', '~3\r\n'],
  ['text for people', (reply) => reply.verbatim('a'), '$1\r\na\r\n', '=5\r\ntxt:a\r\n'],
])('%s', (_, say, resp2, resp3 = resp2) => {
  expect(said(2, say)).toBe(resp2);
  expect(said(3, say)).toBe(resp3);
});

test('all powers of ten, and what is beside them', () => {
  for (let power = 1; power < 2 ** 53; power *= 10)
    for (const number of [power - 1, power, power + 1])
      expect(said(2, (reply) => reply.integer(number))).toBe(`:${number}\r\n`);
});

test('more than the buffer holds, and what is taken back', () => {
  const reply = new Reply();
  const large = Buffer.alloc(3 * 2 ** 20, 'x');
  reply.status('OK');
  const before = reply.length;
  reply.array(2);
  reply.bulk(large);
  reply.rewind(before);
  reply.bulk(large);
  expect(reply.said().toString()).toBe(`+OK\r\n$${large.length}\r\n${large.toString()}\r\n`);
});

test('a buffer that somebody else has is not written to', () => {
  const reply = new Reply();
  reply.status('first');
  const first = reply.said();
  reply.clear(true);
  reply.status('other');
  expect(first.toString()).toBe('+first\r\n');
  reply.clear(false);
  expect(reply.length).toBe(0);
});
