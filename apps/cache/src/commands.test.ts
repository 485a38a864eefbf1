/** What commands answer: one table, in the order in which it is asked. */
import { describe, expect, test } from 'vitest';
import { TestCache } from './test-client.ts';
import { encode, type Value } from './test-resp.ts';

type Step = [request: string, reply: Value];
const error = (text: string): Value => ({ error: text });
const SYNTAX = error('ERR syntax error');
const NO_INTEGER = error('ERR value is not an integer or out of range');

/** A word in quotes may hold spaces. */
function wordsOf(request: string): string[] {
  return [...request.matchAll(/"[^"]*"|\S+/g)].map(([word]) => word.replaceAll('"', ''));
}

const STEPS: Record<string, Step[]> = {
  'strings': [
    ['GET a', null],
    ['SET a 1', 'OK'],
    ['set a 2 NX', null],
    ['SET b 2 XX', null],
    ['SET a 3 XX GET', '1'],
    ['SET a 4 NX GET', '3'],
    ['GET a', '3'],
    ['SET a 5 NX XX', SYNTAX],
    ['SET a 5 EX', SYNTAX],
    ['SET a 5 EX 1 PX 1', SYNTAX],
    ['SET a 5 EX 0', error("ERR invalid expire time in 'set' command")],
    ['SET a 5 EX x', NO_INTEGER],
    ['SETNX a 1', 0],
    ['SETNX c 1', 1],
    ['GETSET a 9', '3'],
    ['GETDEL a', '9'],
    ['GETDEL a', null],
    ['MSET a 1 b 2', 'OK'],
    ['MSET a 1 b', error("ERR wrong number of arguments for 'mset' command")],
    ['MSETNX d 1 a 2', 0],
    ['MSETNX d 1 e 2', 1],
    ['MGET a b nothing d', ['1', '2', null, '1']],
    ['APPEND a 23', 3],
    ['APPEND new x', 1],
    ['STRLEN a', 3],
    ['STRLEN nothing', 0],
    ['GETRANGE a 0 -1', '123'],
    ['GETRANGE a -2 -1', '23'],
    ['GETRANGE a -1 -5', ''],
    ['GETRANGE a 5 9', ''],
    ['SUBSTR a 1 1', '2'],
    ['SETRANGE a 5 x', 6],
    ['GET a', '123\0\0x'],
    ['SETRANGE a -1 x', error('ERR offset is out of range')],
    ['SETRANGE nothing 5 ""', 0],
    ['EXISTS nothing', 0],
    ['SETRANGE a 536870912 x', error('ERR string exceeds maximum allowed size (proto-max-bulk-len)')],
    ['SETBIT bits 7 1', 0],
    ['GET bits', '\x01'],
    ['GETBIT bits 7', 1],
    ['GETBIT bits 100', 0],
    ['SETBIT bits 7 2', error('ERR bit is not an integer or out of range')],
  ],
  'counters': [
    ['INCR a', 1],
    ['INCRBY a 41', 42],
    ['DECRBY a 2', 40],
    ['DECR a', 39],
    ['GET a', '39'],
    ['SET a 9223372036854775806', 'OK'],
    ['INCR a', 9223372036854775807n],
    ['INCR a', error('ERR increment or decrement would overflow')],
    ['INCRBY a x', NO_INTEGER],
    ['DECRBY a -9223372036854775808', error('ERR decrement would overflow')],
    ['SET a 9007199254740991', 'OK'],
    ['INCR a', 9007199254740992n],
    ['SET a " 1"', 'OK'],
    ['INCR a', NO_INTEGER],
    ['INCRBYFLOAT b 0.1', '0.1'],
    ['INCRBYFLOAT b 0.2', '0.3'],
    ['INCRBYFLOAT b x', error('ERR value is not a valid float')],
  ],
  'keys': [
    ['MSET a 1 b 2 ab 3', 'OK'],
    ['EXISTS a b a nothing', 3],
    ['TOUCH a b nothing', 2],
    ['TYPE a', 'string'],
    ['TYPE nothing', 'none'],
    ['RENAME a c', 'OK'],
    ['RENAME a c', error('ERR no such key')],
    ['RENAMENX c b', 0],
    ['RENAMENX c a', 1],
    ['RENAME a a', 'OK'],
    ['GET a', '1'],
    ['COPY a b', 0],
    ['COPY a b REPLACE', 1],
    ['COPY a d DB 0', 1],
    ['COPY a d DB 1', error('ERR DB index is out of range')],
    ['GET b', '1'],
    ['DEL a b nothing', 2],
    ['UNLINK ab', 1],
    ['KEYS *', ['d']],
    ['SCAN 0', ['0', ['d']]],
    ['SCAN 0 MATCH x*', ['0', []]],
    ['SCAN 0 TYPE list', ['0', []]],
    ['SCAN x', error('ERR invalid cursor')],
    ['SCAN 0 COUNT 0', SYNTAX],
    ['RANDOMKEY', 'd'],
    ['OBJECT ENCODING d', 'int'],
    ['DBSIZE', 1],
    ['SELECT 0', 'OK'],
    ['SELECT 1', error('ERR DB index is out of range')],
    ['FLUSHALL ASYNC', 'OK'],
    ['FLUSHALL NOW', SYNTAX],
    ['RANDOMKEY', null],
    ['DBSIZE', 0],
  ],
  'transactions': [
    ['EXEC', error('ERR EXEC without MULTI')],
    ['DISCARD', error('ERR DISCARD without MULTI')],
    ['MULTI', 'OK'],
    ['MULTI', error('ERR MULTI calls can not be nested')],
    ['SET a 1', 'QUEUED'],
    ['INCR a', 'QUEUED'],
    ['INCRBY a x', 'QUEUED'],
    ['EXEC', ['OK', 2, NO_INTEGER]],
    ['MULTI', 'OK'],
    ['GET', error("ERR wrong number of arguments for 'get' command")],
    ['SET a 9', 'QUEUED'],
    ['EXEC', error('EXECABORT Transaction discarded because of previous errors.')],
    ['MULTI', 'OK'],
    ['SET a 9', 'QUEUED'],
    ['DISCARD', 'OK'],
    ['GET a', '2'],
    ['WATCH a', 'OK'],
    ['SET a 3', 'OK'],
    ['MULTI', 'OK'],
    ['GET a', 'QUEUED'],
    ['EXEC', null],
    ['WATCH a', 'OK'],
    ['SET a 4', 'OK'],
    ['UNWATCH', 'OK'],
    ['MULTI', 'OK'],
    ['WATCH a', error('ERR WATCH inside MULTI is not allowed')],
    ['EXEC', []],
  ],
  'the connection': [
    ['PING', 'PONG'],
    ['PING hello', 'hello'],
    ['ECHO hello', 'hello'],
    ['CLIENT GETNAME', null],
    ['CLIENT SETNAME me', 'OK'],
    ['CLIENT GETNAME', 'me'],
    ['CLIENT SETNAME "a b"', error('ERR Client names cannot contain spaces, newlines or special characters.')],
    ['CLIENT SETINFO LIB-NAME test', 'OK'],
    ['CLIENT ID', 1],
    ['CLIENT NO-EVICT on', 'OK'],
    ['CLIENT KILL ID 77', 0],
    ['AUTH secret', error('ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?')],
    ['AUTH default secret', 'OK'],
    ['HELLO 4', error('NOPROTO unsupported protocol version')],
    ['HELLO 3 SETNAME you', { map: [['server', 'redis'], ['version', '7.0.15'], ['proto', 3], ['id', 1], ['mode', 'standalone'], ['role', 'master'], ['modules', []]] }],
    ['CLIENT GETNAME', 'you'],
    ['CONFIG GET save', { map: [['save', '']] }],
    ['GET nothing', null],
    ['RESET', 'RESET'],
    ['CONFIG GET appendonly save', ['save', '', 'appendonly', 'no']],
  ],
  'the server': [
    ['CONFIG SET appendonly no', 'OK'],
    ['CONFIG SET appendonly yes', error("ERR CONFIG SET failed (possibly related to argument 'appendonly') - it is set where the cache is started")],
    ['CONFIG SET nothing 1', error("ERR Unknown option or number of arguments for CONFIG SET - 'nothing'")],
    ['COMMAND GETKEYS MSET a 1 b 2', ['a', 'b']],
    ['COMMAND GETKEYS GET a', ['a']],
    ['COMMAND GETKEYS PING', error('ERR The command has no key arguments')],
    ['COMMAND INFO get nothing', [['get', 2, ['readonly', 'fast'], 1, 1, 1, ['@read', '@fast', '@string'], [], [], []], null]],
    ['COMMAND DOCS get', ['get', ['summary', 'The value of a key', 'since', '1.0.0', 'group', 'string']]],
    ['NOTHING a b', error("ERR unknown command 'NOTHING', with args beginning with: 'a' 'b' (this cache has strings, counters and expiry: see COMMAND LIST)")],
    ['CONFIG NOTHING', error("ERR unknown subcommand 'NOTHING'. There are GET, SET, RESETSTAT.")],
    ['GET', error("ERR wrong number of arguments for 'get' command")],
    ['CLIENT', error("ERR wrong number of arguments for 'client' command")],
    ['CLIENT SETNAME', error("ERR wrong number of arguments for 'client|setname' command")],
  ],
}; // prettier-ignore

test.each(Object.entries(STEPS))('%s', (_, steps) => {
  const { ask } = new TestCache().client();
  for (const [request, reply] of steps) expect([request, ask(...wordsOf(request))]).toEqual([request, reply]);
});

test('when keys end, by a clock that is turned', () => {
  let now = 1_700_000_000_000;
  const cache = new TestCache({ now: () => now });
  const { ask } = cache.client();
  const steps: (Step | [wait: number])[] = [
    ['SET a 1 EX 10', 'OK'],
    ['TTL a', 10],
    ['PTTL a', 10_000],
    ['EXPIRETIME a', 1_700_000_010],
    [9999],
    ['GET a', '1'],
    [1],
    ['GET a', null],
    ['TTL a', -2],
    ['SET a 1', 'OK'],
    ['TTL a', -1],
    ['EXPIRE a 100 XX', 0],
    ['EXPIRE a 100 GT', 0],
    ['EXPIRE a 100 LT', 1],
    ['EXPIRE a 50 NX', 0],
    ['EXPIRE a 50 GT', 0],
    ['EXPIRE a 50 XX', 1],
    ['EXPIRE a 50 NX XX', error('ERR NX and XX, GT or LT options at the same time are not compatible')],
    ['EXPIRE a 50 GT LT', error('ERR GT and LT options at the same time are not compatible')],
    ['EXPIRE a 50 FOO', error('ERR Unsupported option FOO')],
    ['EXPIRE a 9223372036854775807', error("ERR invalid expire time in 'expire' command")],
    ['APPEND a 2', 2],
    ['TTL a', 50],
    ['INCR a', 13],
    ['TTL a', 50],
    ['SET a 1 KEEPTTL', 'OK'],
    ['TTL a', 50],
    ['GETEX a', '1'],
    ['TTL a', 50],
    ['GETEX a PX 1500', '1'],
    ['PTTL a', 1500],
    ['RENAME a b', 'OK'],
    ['PTTL b', 1500],
    ['COPY b c', 1],
    ['PTTL c', 1500],
    ['PERSIST b', 1],
    ['PERSIST b', 0],
    ['TTL b', -1],
    ['PEXPIREAT c 1', 1],
    ['EXISTS c', 0],
    ['EXPIRE b -1', 1],
    ['EXISTS b', 0],
    ['SET a 1 PXAT 9223372036854775807', 'OK'],
    ['GET a', '1'],
    ['WATCH a', 'OK'],
    ['EXPIRE a 1', 1],
    ['UNWATCH', 'OK'],
    ['WATCH a', 'OK'],
    [1000],
    ['MULTI', 'OK'],
    ['EXEC', null],
  ];
  for (const step of steps) {
    if (step.length === 1) [now] = [now + step[0]];
    else expect([step[0], ask(...wordsOf(step[0]))]).toEqual(step);
  }
  cache.store.sweep(10_000);
  expect(ask('DBSIZE')).toBe(0);
});

describe('a cache that is full', () => {
  const value = Buffer.alloc(10_000, 'x');

  test('says so, and all that was stored is there; half a reply is not said', () => {
    const { ask } = new TestCache().client();
    let stored = 0;
    let reply: Value = 'OK';
    for (; reply === 'OK'; stored++) reply = ask('SET', `key${stored}`, value);
    expect(reply).toEqual(error("OOM command not allowed when used memory > 'maxmemory'."));
    expect(stored).toBeGreaterThan(50);
    expect(ask('GETSET', 'key1', Buffer.alloc(500_000))).toEqual(reply);
    for (let i = 0; i < stored - 1; i++) expect(ask('STRLEN', `key${i}`)).toBe(value.length);
    expect(ask('DEL', 'key1')).toBe(1);
    expect(ask('SET', 'key1', value)).toBe('OK');
  });

  test('or the least recently used go', () => {
    const { ask } = new TestCache({ evicts: true }).client();
    for (let i = 0; i < 500; i++) {
      expect(ask('SET', `key${i}`, value)).toBe('OK');
      expect(ask('STRLEN', 'key0')).toBe(value.length);
    }
    expect(ask('STRLEN', 'key1')).toBe(0);
    expect(ask('STRLEN', 'key499')).toBe(value.length);
  });
});

test('CLIENT REPLY: nobody is told what he does not want to hear', () => {
  const { send } = new TestCache().client();
  const all = (...requests: string[]): Value[] =>
    send(Buffer.concat(requests.map((each) => encode(...wordsOf(each)))));
  expect(all('CLIENT REPLY SKIP', 'SET a 1', 'GET a')).toEqual(['1']);
  expect(all('CLIENT REPLY OFF', 'SET a 2', 'CLIENT REPLY ON', 'GET a')).toEqual(['OK', '2']);
});

test('CLIENT KILL: of oneself and of others, and all that was said before is heard', () => {
  const cache = new TestCache();
  const first = cache.client();
  const second = cache.client();
  const id = second.ask('CLIENT', 'ID') as number;
  const [pong, killed] = first.send(Buffer.concat([encode('PING'), encode('CLIENT', 'KILL', 'ID', id)]));
  expect([pong, killed, second.isEnded()]).toEqual(['PONG', 1, true]);
  expect(first.ask('CLIENT', 'KILL', 'ID', first.ask('CLIENT', 'ID') as number)).toBe(1);
  expect([first.isEnded(), cache.server.clients.size]).toEqual([true, 0]);
  const third = cache.client();
  expect(third.send(Buffer.concat([encode('PING'), encode('QUIT'), encode('PING')]))).toEqual(['PONG', 'OK']);
  expect(third.isEnded()).toBe(true);
});

test('SCAN tells each of many keys once, while others come and go', () => {
  const { ask } = new TestCache({ size: 4 * 2 ** 20 }).client();
  for (let i = 0; i < 5000; i++) ask('SET', `stays${i}`, i);
  const seen: Value[] = [];
  let cursor = '0';
  let round = 0;
  do {
    const [next, keys] = ask('SCAN', cursor, 'COUNT', 37, 'MATCH', 'stays*') as [string, string[]];
    seen.push(...keys);
    cursor = next;
    round += 1;
    ask('SET', `comes${round}`, 1);
    ask('DEL', `comes${round - 2}`);
  } while (cursor !== '0');
  expect(seen).toHaveLength(5000);
  expect(new Set(seen).size).toBe(5000);
});

test('a pipeline is answered in order, in one go', () => {
  const { send } = new TestCache().client();
  const requests = Array.from({ length: 1000 }, (_, i) => encode('INCR', `key${i % 7}`));
  const replies = send(Buffer.concat(requests));
  expect(replies).toEqual(requests.map((_, i) => Math.floor(i / 7) + 1));
});
