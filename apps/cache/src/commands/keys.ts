/** Commands of keys, whatever their values are. */
import { ALL_KEYS, CommandError, commandsOf, ONE_KEY, SYNTAX, TWO_KEYS, type Run } from '../command.ts';
import { matches } from '../glob.ts';
import { asInteger, count, integer, word } from '../words.ts';

const NO_KEY = 'ERR no such key';
/** Places that SCAN looks at, unless COUNT says another number. */
const SCANNED = 10;
/** At most, whatever COUNT says: others want to be served meanwhile. */
const MOST_SCANNED = 10_000;
const MOST_CURSOR = 2n ** 64n - 1n;
/** Bytes up to which Redis keeps a value beside its key. It tells so, and so does this. */
const EMBEDDED = 44;

/** EXISTS and TOUCH: how many of them are there. */
const exists: Run = ({ store, reply }, args) => {
  let there = 0;
  for (let i = 1; i < args.length; i++) if (store.read(args[i], () => undefined)) there += 1;
  reply.integer(there);
};

/** DEL and UNLINK. */
const del: Run = ({ store, reply }, args) => {
  let gone = 0;
  for (let i = 1; i < args.length; i++) if (store.delete(args[i])) gone += 1;
  reply.integer(gone);
};

const type: Run = ({ store, reply }, [, key]) => {
  reply.status(store.has(key) ? 'string' : 'none');
};

/** RENAME and RENAMENX. Killed in between, the value is under both names. */
function rename(isKept: boolean): Run {
  return ({ store, reply }, [, from, to]) => {
    const value = store.map.get(from);
    const expires = store.expiry(from);
    if (value === undefined || expires === undefined) throw new CommandError(NO_KEY);
    const isTaken = isKept && store.has(to);
    if (!isTaken && !from.equals(to)) {
      store.set(to, value, expires);
      store.delete(from);
    }
    if (isKept) reply.integer(isTaken ? 0 : 1);
    else reply.status('OK');
  };
}

const copy: Run = ({ store, reply }, args) => {
  const [, from, to] = args;
  let replaces = false;
  for (let i = 3; i < args.length; i++) {
    const option = word(args[i]);
    if (option === 'REPLACE') {
      replaces = true;
    } else if (option === 'DB' && i + 1 < args.length) {
      i += 1;
      if (count(args[i]) !== 0) throw new CommandError('ERR DB index is out of range');
    } else {
      throw new CommandError(SYNTAX);
    }
  }
  if (from.equals(to)) throw new CommandError('ERR source and destination objects are the same');
  const value = store.map.get(from);
  const expires = store.expiry(from);
  const isCopied = value !== undefined && expires !== undefined && (replaces || !store.has(to));
  if (isCopied) store.set(to, value, expires);
  reply.integer(isCopied ? 1 : 0);
};

const keys: Run = ({ store, reply }, [, pattern]) => {
  const found = [...store.map.keys()].filter((key) => matches(pattern, key));
  reply.array(found.length);
  for (const key of found) reply.bulk(key);
};

const scan: Run = ({ store, reply }, args) => {
  let pattern: Buffer | undefined;
  let most = SCANNED;
  let isOther = false;
  const cursor = asInteger(args[1]) ?? -1n;
  if (cursor < 0n || cursor > MOST_CURSOR) throw new CommandError('ERR invalid cursor');
  for (let i = 2; i < args.length; i += 2) {
    const option = word(args[i]);
    if (i + 1 === args.length) throw new CommandError(SYNTAX);
    const value = args[i + 1];
    if (option === 'MATCH') pattern = value;
    else if (option === 'TYPE') isOther = word(value) !== 'STRING';
    else if (option !== 'COUNT') throw new CommandError(SYNTAX);
    else if ((most = count(value)) < 1) throw new CommandError(SYNTAX);
  }
  const at = cursor < 2n ** 32n ? Number(cursor) : 0; // what was no cursor of ours begins anew
  const found = store.map.scan(at, Math.min(most, MOST_SCANNED));
  const wanted = found.keys.filter((key) => !isOther && (!pattern || matches(pattern, key)));
  reply.array(2);
  reply.text(String(found.cursor));
  reply.array(wanted.length);
  for (const key of wanted) reply.bulk(key);
};

const randomkey: Run = ({ store, reply }) => {
  const key = store.map.randomKey();
  if (key) reply.bulk(key);
  else reply.nothing();
};

const encoding: Run = ({ store, reply }, [, , key]) => {
  const isThere = store.read(key, (value) => {
    if (value.length <= 20 && asInteger(value) !== undefined) reply.text('int');
    else reply.text(value.length <= EMBEDDED ? 'embstr' : 'raw');
  });
  if (!isThere) reply.nothing();
};

const refcount: Run = ({ store, reply }, [, , key]) => {
  if (store.has(key)) reply.integer(1);
  else reply.nothing();
};

/** MOVE and SWAPDB have no other database; SELECT has one. */
const select: Run = ({ reply }, [, index]) => {
  if (integer(index, 'ERR invalid DB index') !== 0n) throw new CommandError('ERR DB index is out of range');
  reply.status('OK');
};

const flush: Run = ({ store, reply }, args) => {
  if (args.length > 2 || (args.length === 2 && !['SYNC', 'ASYNC'].includes(word(args[1]))))
    throw new CommandError(SYNTAX);
  store.clear();
  reply.status('OK');
};

const dbsize: Run = ({ store, reply }) => reply.integer(store.map.size);
const parent: Run = () => undefined;

const OBJECT = {
  encoding: { arity: 3, flags: 'readonly', keys: [2, 2, 1], since: '2.2.3', summary: 'How Redis would keep a value', run: encoding },
  refcount: { arity: 3, flags: 'readonly', keys: [2, 2, 1], since: '2.2.3', summary: 'How many refer to a value: 1', run: refcount },
} as const; // prettier-ignore

export const generic = commandsOf('generic', {
  exists: { arity: -2, flags: 'readonly fast', keys: ALL_KEYS, since: '1.0.0', summary: 'How many of these keys there are', run: exists },
  touch: { arity: -2, flags: 'readonly fast', keys: ALL_KEYS, since: '3.2.1', summary: 'How many of these keys there are: they were used', run: exists },
  del: { arity: -2, flags: 'write', keys: ALL_KEYS, since: '1.0.0', summary: 'Removes keys', run: del },
  unlink: { arity: -2, flags: 'write fast', keys: ALL_KEYS, since: '4.0.0', summary: 'Removes keys', run: del },
  type: { arity: 2, flags: 'readonly fast', keys: ONE_KEY, since: '1.0.0', summary: 'string, or none', run: type },
  rename: { arity: 3, flags: 'write', keys: TWO_KEYS, since: '1.0.0', summary: 'Gives a key another name', run: rename(false) },
  renamenx: { arity: 3, flags: 'write fast', keys: TWO_KEYS, since: '1.0.0', summary: 'Gives a key another name, which nobody has', run: rename(true) },
  copy: { arity: -3, flags: 'write denyoom', keys: TWO_KEYS, since: '6.2.0', summary: 'Copies a value to another key', run: copy },
  keys: { arity: 2, flags: 'readonly', since: '1.0.0', summary: 'All keys like a pattern', run: keys },
  scan: { arity: -2, flags: 'readonly', since: '2.8.0', summary: 'Some keys, and where to go on: MATCH, COUNT, TYPE', run: scan },
  randomkey: { arity: 1, flags: 'readonly', since: '1.0.0', summary: 'Any key', run: randomkey },
  object: { arity: -2, since: '2.2.3', summary: 'About a value', run: parent, subcommands: OBJECT },
}); // prettier-ignore

export const databases = commandsOf('server', {
  select: { arity: 2, flags: 'loading stale fast', since: '1.0.0', summary: 'Database 0', run: select },
  dbsize: { arity: 1, flags: 'readonly fast', since: '1.0.0', summary: 'How many keys there are', run: dbsize },
  flushall: { arity: -1, flags: 'write', since: '1.0.0', summary: 'Removes all', run: flush },
  flushdb: { arity: -1, flags: 'write', since: '1.0.0', summary: 'Removes all', run: flush },
}); // prettier-ignore
