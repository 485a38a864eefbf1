/** Commands of when keys end. */
import { CommandError, commandsOf, ONE_KEY, type Run } from '../command.ts';
import type { Request } from '../request-parser.ts';
import { word } from '../words.ts';
import { moment, type Clock } from './expiry-times.ts';

const SECOND = 1000;
/** What is told of a key that never ends, and of one that is not there. */
const NEVER = -1;
const NO_KEY = -2;

const CONDITIONS = ['NX', 'XX', 'GT', 'LT'];

/** EXPIRE and its kin. */
function expire(name: string, clock: Clock): Run {
  return ({ store, reply }, args) => {
    const [, key, time] = args;
    const conditions = conditionsOf(args);
    const expires = moment(time, clock, store.now(), name);
    const before = store.expiry(key);
    const isSet = before !== undefined && allows(conditions, before, expires) && store.expireAt(key, expires);
    reply.integer(isSet ? 1 : 0);
  };
}

/** @throws CommandError: there is no such condition, or not with another one */
function conditionsOf(args: Request): ReadonlySet<string> {
  const conditions = new Set<string>();
  for (let i = 3; i < args.length; i++) {
    const condition = word(args[i]);
    if (!CONDITIONS.includes(condition))
      throw new CommandError(`ERR Unsupported option ${args[i].toString('latin1')}`);
    conditions.add(condition);
  }
  if (conditions.has('NX') && conditions.size > 1)
    throw new CommandError('ERR NX and XX, GT or LT options at the same time are not compatible');
  if (conditions.has('GT') && conditions.has('LT'))
    throw new CommandError('ERR GT and LT options at the same time are not compatible');
  return conditions;
}

function allows(conditions: ReadonlySet<string>, before: number, expires: number): boolean {
  return !(
    (conditions.has('NX') && before !== Infinity) ||
    (conditions.has('XX') && before === Infinity) ||
    (conditions.has('GT') && expires <= before) ||
    (conditions.has('LT') && expires >= before)
  );
}

/** TTL and its kin. @param tell makes the answer of the moment and of now */
function told(tell: (expires: number, now: number) => number): Run {
  return ({ store, reply }, [, key]) => {
    const expires = store.expiry(key);
    if (expires === undefined) reply.integer(NO_KEY);
    else reply.integer(expires === Infinity ? NEVER : tell(expires, store.now()));
  };
}

const persist: Run = ({ store, reply }, [, key]) => {
  const expires = store.expiry(key) ?? Infinity;
  reply.integer(expires !== Infinity && store.expireAt(key, Infinity) ? 1 : 0);
};

const rounded = (milliseconds: number): number => Math.floor((milliseconds + SECOND / 2) / SECOND);
const WRITES = 'write fast';
const READS = 'readonly fast';

export const expiry = commandsOf('generic', {
  expire: { arity: -3, flags: WRITES, keys: ONE_KEY, since: '1.0.0', summary: 'Ends a key in so many seconds: NX, XX, GT, LT', run: expire('expire', { isRelative: true, isSeconds: true }) },
  pexpire: { arity: -3, flags: WRITES, keys: ONE_KEY, since: '2.6.0', summary: 'Ends a key in so many milliseconds: NX, XX, GT, LT', run: expire('pexpire', { isRelative: true, isSeconds: false }) },
  expireat: { arity: -3, flags: WRITES, keys: ONE_KEY, since: '1.2.0', summary: 'Ends a key at a second since the epoch: NX, XX, GT, LT', run: expire('expireat', { isRelative: false, isSeconds: true }) },
  pexpireat: { arity: -3, flags: WRITES, keys: ONE_KEY, since: '2.6.0', summary: 'Ends a key at a millisecond since the epoch: NX, XX, GT, LT', run: expire('pexpireat', { isRelative: false, isSeconds: false }) },
  ttl: { arity: 2, flags: READS, keys: ONE_KEY, since: '1.0.0', summary: 'Seconds until a key ends', run: told((expires, now) => rounded(expires - now)) },
  pttl: { arity: 2, flags: READS, keys: ONE_KEY, since: '2.6.0', summary: 'Milliseconds until a key ends', run: told((expires, now) => expires - now) },
  expiretime: { arity: 2, flags: READS, keys: ONE_KEY, since: '7.0.0', summary: 'When a key ends, in seconds since the epoch', run: told(rounded) },
  pexpiretime: { arity: 2, flags: READS, keys: ONE_KEY, since: '7.0.0', summary: 'When a key ends, in milliseconds since the epoch', run: told((expires) => expires) },
  persist: { arity: 2, flags: WRITES, keys: ONE_KEY, since: '2.2.0', summary: 'A key does not end by itself any more', run: persist },
}); // prettier-ignore
