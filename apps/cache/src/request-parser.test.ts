/** Requests are the same however they are cut; what is none is told so, and kept in bounds. */
import { Prng } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { describe, expect, test } from 'vitest';
import { ProtocolError, RequestParser } from './request-parser.ts';

/** All requests of some chunks, as words. */
function requestsOf(parser: RequestParser, chunks: readonly Buffer[]): string[][] {
  const found: string[][] = [];
  for (const chunk of chunks) {
    parser.push(Buffer.from(chunk)); // a copy: nobody else changes it
    for (let next = parser.next(); next; next = parser.next())
      found.push(next.map((word) => word.toString('latin1')));
  }
  return found;
}

function encoded(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

const PIPELINE = [
  encoded(['SET', 'key', 'a\r\nb']),
  'PING\r\n',
  '\r\n*0\r\n*-1\r\n',
  encoded(['SET', '', '']),
  'set "a \\x41\\n" \'it\\\'s\' z"w"\n',
  encoded(['MGET', ...Array.from({ length: 12 }, (_, i) => `key${i}`)]),
  encoded(['ECHO', '\x00\xff*$']),
].join('');

const REQUESTS = [
  ['SET', 'key', 'a\r\nb'],
  ['PING'],
  ['SET', '', ''],
  ['set', 'a A\n', "it's", 'zw'],
  ['MGET', ...Array.from({ length: 12 }, (_, i) => `key${i}`)],
  ['ECHO', '\x00\xff*$'],
];

test('a pipeline, in one piece and byte by byte', () => {
  const whole = bytes(PIPELINE);
  expect(requestsOf(new RequestParser(), [whole])).toEqual(REQUESTS);
  const single = Array.from(whole, (byte) => Buffer.of(byte));
  expect(requestsOf(new RequestParser(), single)).toEqual(REQUESTS);
});

test('a pipeline cut at any two places; what is left over means the same to another parser', () => {
  const whole = bytes(PIPELINE);
  for (let first = 0; first <= whole.length; first++) {
    const parser = new RequestParser();
    const before = requestsOf(parser, [whole.subarray(0, first)]);
    const rest = Buffer.from(parser.rest());
    const after = requestsOf(new RequestParser(), [Buffer.concat([rest, whole.subarray(first)])]);
    expect([...before, ...after]).toEqual(REQUESTS);
    for (let second = first; second <= whole.length; second += 7) {
      const pieces = [whole.subarray(0, first), whole.subarray(first, second), whole.subarray(second)];
      expect(requestsOf(new RequestParser(), pieces)).toEqual(REQUESTS);
    }
  }
});

test('views stay what they were when more comes', () => {
  const parser = new RequestParser();
  parser.push(bytes('*2\r\n$3\r\nGET\r\n$3\r\nke'));
  expect(parser.next()).toBeUndefined();
  parser.push(bytes(`y\r\n${encoded(['SET', 'a', 'x'.repeat(100)]).slice(0, 40)}`));
  const get = parser.next();
  expect(parser.next()).toBeUndefined();
  parser.push(bytes('y'.repeat(500)));
  expect(get?.map(String)).toEqual(['GET', 'key']);
});

test('a large value that comes in small pieces is copied a few times, not once for each', () => {
  const length = 32 * 2 ** 20;
  const parser = new RequestParser();
  parser.push(bytes(`*2\r\n$4\r\nECHO\r\n$${length}\r\n`));
  const piece = Buffer.alloc(16 * 1024, 'x');
  const start = performance.now();
  for (let sent = 0; sent < length; sent += piece.length) {
    expect(parser.next()).toBeUndefined();
    parser.push(piece);
  }
  parser.push(bytes('\r\n'));
  expect(parser.next()?.[1]).toHaveLength(length);
  expect(performance.now() - start).toBeLessThan(10_000);
});

describe('what is no request', () => {
  test.each([
    ['*3000000000\r\n', 'invalid multibulk length'],
    ['*1048577\r\n', 'invalid multibulk length'],
    ['*abc\r\n', 'invalid multibulk length'],
    ['*\r\n', 'invalid multibulk length'],
    ['*1\r\nPING\r\n', "expected '$', got 'P'"],
    ['*1\r\n$-1\r\n', 'invalid bulk length'],
    ['*1\r\n$536870913\r\n', 'invalid bulk length'],
    ['*1\r\n$x\r\n', 'invalid bulk length'],
    ['get "a\r\n', 'unbalanced quotes in request'],
    ['get "a"b\r\n', 'unbalanced quotes in request'],
    [`get ${'x'.repeat(70_000)}`, 'too big inline request'],
  ])('%j', (text, why) => {
    const parser = new RequestParser();
    parser.push(bytes(text));
    expect(() => parser.next()).toThrow(new ProtocolError(why));
  });
});

test('any bytes in any pieces: requests, or one error, and no more is kept than twice what came', () => {
  const random = new Prng(seed);
  const LETTERS = [
    '*',
    '$',
    '\r\n',
    '1',
    '0',
    '-',
    '"',
    "'",
    '\\x',
    ' ',
    'a',
    '\0',
    '3\r\n',
    '*2\r\n$1\r\na\r\n',
  ];
  for (let round = 0; round < (isQuick ? 500 : 20_000); round++) {
    const parser = new RequestParser();
    let sent = 0;
    let got = 0;
    try {
      for (let i = 0; i < 20; i++) {
        const piece = Array.from(
          { length: 1 + random.below(6) },
          () => LETTERS[random.below(LETTERS.length)],
        );
        const chunk = bytes(piece.join(''));
        sent += chunk.length;
        parser.push(chunk);
        for (let next = parser.next(); next; next = parser.next())
          got += next.reduce((sum, word) => sum + word.length, 0);
        expect(parser.rest().length + got).toBeLessThanOrEqual(2 * sent + 64);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(ProtocolError);
    }
  }
});
