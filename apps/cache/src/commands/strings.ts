/** Commands of one value, or of some. */
import { ALL_KEYS, CommandError, commandsOf, ONE_KEY, SYNTAX, type Run } from '../command.ts';
import { MOST_BYTES } from '../request-parser.ts';
import type { Expires } from '../store.ts';
import { count } from '../words.ts';
import { expiryOptions, positiveMoment, type Clock } from './expiry-times.ts';

const EMPTY = Buffer.alloc(0);
const SECONDS: Clock = { isRelative: true, isSeconds: true };
const MILLISECONDS: Clock = { isRelative: true, isSeconds: false };
const KEEPS: ReadonlyMap<string, Expires> = new Map([['KEEPTTL', 'keep']]);
const PERSISTS: ReadonlyMap<string, Expires> = new Map([['PERSIST', Infinity]]);

const get: Run = (client, [, key]) => {
  const { reply } = client;
  if (!client.store.read(key, (value) => reply.bulk(value))) reply.nothing();
};

const set: Run = (client, args) => {
  const { store, reply } = client;
  const [, key, value] = args;
  if (args.length === 3) {
    store.set(key, value);
    reply.status('OK');
    return;
  }
  const { expires, others } = expiryOptions(client, args, 3, ['NX', 'XX', 'GET'], KEEPS);
  if (others.has('NX') && others.has('XX')) throw new CommandError(SYNTAX);
  const isWanted = (!others.has('NX') || !store.has(key)) && (!others.has('XX') || store.has(key));
  if (others.has('GET')) get(client, args);
  if (isWanted) store.set(key, value, expires);
  if (others.has('GET')) return;
  if (isWanted) reply.status('OK');
  else reply.nothing();
};

/** SETEX and PSETEX. */
function setFor(name: string, clock: Clock): Run {
  return (client, [, key, time, value]) => {
    client.store.set(key, value, positiveMoment(time, clock, client, name));
    client.reply.status('OK');
  };
}

const setnx: Run = ({ store, reply }, [, key, value]) => {
  const isNew = !store.has(key);
  if (isNew) store.set(key, value);
  reply.integer(isNew ? 1 : 0);
};

const getset: Run = (client, args) => {
  get(client, args);
  client.store.set(args[1], args[2]);
};

const getdel: Run = (client, args) => {
  get(client, args);
  client.store.delete(args[1]);
};

const getex: Run = (client, args) => {
  const [, key] = args;
  const { expires } = expiryOptions(client, args, 2, [], PERSISTS);
  get(client, args);
  if (expires === undefined || expires === 'keep') return;
  if (expires !== Infinity || (client.store.expiry(key) ?? Infinity) !== Infinity)
    client.store.expireAt(key, expires);
};

const mget: Run = (client, args) => {
  client.reply.array(args.length - 1);
  for (let i = 1; i < args.length; i++) get(client, [args[0], args[i]]);
};

const mset: Run = ({ store, reply }, args) => {
  checkPairs('mset', args.length);
  for (let i = 1; i < args.length; i += 2) store.set(args[i], args[i + 1]);
  reply.status('OK');
};

const msetnx: Run = ({ store, reply }, args) => {
  checkPairs('msetnx', args.length);
  let isNew = true;
  for (let i = 1; i < args.length; i += 2) isNew &&= !store.has(args[i]);
  for (let i = 1; isNew && i < args.length; i += 2) store.set(args[i], args[i + 1]);
  reply.integer(isNew ? 1 : 0);
};

function checkPairs(name: string, words: number): void {
  if (words % 2 === 0) throw new CommandError(`ERR wrong number of arguments for '${name}' command`);
}

const append: Run = ({ store, reply }, [, key, more]) => {
  const before = store.map.get(key) ?? EMPTY;
  checkSize(before.length + more.length);
  store.set(key, Buffer.concat([before, more]), 'keep');
  reply.integer(before.length + more.length);
};

const strlen: Run = ({ store, reply }, [, key]) => {
  if (!store.read(key, (value) => reply.integer(value.length))) reply.integer(0);
};

const getrange: Run = ({ store, reply }, [, key, from, to]) => {
  const first = count(from);
  const last = count(to);
  const isThere = store.read(key, (value) => {
    const fromEnd = (at: number): number => (at < 0 ? Math.max(0, value.length + at) : at);
    reply.bulk(
      first < 0 && last < 0 && first > last ? EMPTY : value.subarray(fromEnd(first), fromEnd(last) + 1),
    );
  });
  if (!isThere) reply.bulk(EMPTY);
};

const setrange: Run = ({ store, reply }, [, key, offset, part]) => {
  const at = count(offset);
  if (at < 0) throw new CommandError('ERR offset is out of range');
  const before = store.map.get(key);
  if (part.length === 0) {
    reply.integer(before?.length ?? 0);
    return;
  }
  const length = Math.max(before?.length ?? 0, at + part.length);
  checkSize(length);
  const value = Buffer.alloc(length);
  value.set(before ?? EMPTY);
  value.set(part, at);
  store.set(key, value, 'keep');
  reply.integer(length);
};

function checkSize(length: number): void {
  if (length > MOST_BYTES)
    throw new CommandError('ERR string exceeds maximum allowed size (proto-max-bulk-len)');
}

const WRITES = 'write denyoom';

export const strings = commandsOf('string', {
  get: { arity: 2, flags: 'readonly fast', keys: ONE_KEY, since: '1.0.0', summary: 'The value of a key', run: get },
  set: { arity: -3, flags: WRITES, keys: ONE_KEY, since: '1.0.0', summary: 'Sets a value: NX, XX, GET, KEEPTTL, EX, PX, EXAT, PXAT', run: set },
  setnx: { arity: 3, flags: `${WRITES} fast`, keys: ONE_KEY, since: '1.0.0', summary: 'Sets a value where there is none', run: setnx },
  setex: { arity: 4, flags: WRITES, keys: ONE_KEY, since: '2.0.0', summary: 'Sets a value for so many seconds', run: setFor('setex', SECONDS) },
  psetex: { arity: 4, flags: WRITES, keys: ONE_KEY, since: '2.6.0', summary: 'Sets a value for so many milliseconds', run: setFor('psetex', MILLISECONDS) },
  getset: { arity: 3, flags: `${WRITES} fast`, keys: ONE_KEY, since: '1.0.0', summary: 'The value of a key, which gets another one', run: getset },
  getdel: { arity: 2, flags: 'write fast', keys: ONE_KEY, since: '6.2.0', summary: 'The value of a key, which goes', run: getdel },
  getex: { arity: -2, flags: 'write fast', keys: ONE_KEY, since: '6.2.0', summary: 'The value of a key, and sets when it ends', run: getex },
  mget: { arity: -2, flags: 'readonly fast', keys: ALL_KEYS, since: '1.0.0', summary: 'The values of keys', run: mget },
  mset: { arity: -3, flags: WRITES, keys: [1, -1, 2], since: '1.0.1', summary: 'Sets values', run: mset },
  msetnx: { arity: -3, flags: WRITES, keys: [1, -1, 2], since: '1.0.1', summary: 'Sets values where there are none at all', run: msetnx },
  append: { arity: 3, flags: `${WRITES} fast`, keys: ONE_KEY, since: '2.0.0', summary: 'Makes a value longer', run: append },
  strlen: { arity: 2, flags: 'readonly fast', keys: ONE_KEY, since: '2.2.0', summary: 'How long a value is, in bytes', run: strlen },
  getrange: { arity: 4, flags: 'readonly', keys: ONE_KEY, since: '2.4.0', summary: 'A part of a value', run: getrange },
  substr: { arity: 4, flags: 'readonly', keys: ONE_KEY, since: '1.0.0', summary: 'A part of a value', run: getrange },
  setrange: { arity: 4, flags: WRITES, keys: ONE_KEY, since: '2.2.0', summary: 'Overwrites a part of a value', run: setrange },
}); // prettier-ignore
