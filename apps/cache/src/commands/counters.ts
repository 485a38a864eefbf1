/** Commands of values that are numbers. */
import { codeOf } from '@liveupdate/base';
import { CommandError, commandsOf, NO_INTEGER, ONE_KEY, type CommandClient, type Run } from '../command.ts';
import { addDecimals } from '../decimal.ts';
import { integer } from '../words.ts';

const LEAST = -(2n ** 63n);

function add(client: CommandClient, key: Buffer, by: bigint): void {
  client.reply.integer(incremented(client, key, by));
}

function incremented({ store }: CommandClient, key: Buffer, by: bigint): number | bigint {
  try {
    return store.increment(key, by);
  } catch (error) {
    if (codeOf(error) === 'EINVAL') throw new CommandError(NO_INTEGER);
    if (codeOf(error) === 'ERANGE') throw new CommandError('ERR increment or decrement would overflow');
    throw error;
  }
}

const incr: Run = (client, [, key]) => add(client, key, 1n);
const decr: Run = (client, [, key]) => add(client, key, -1n);
const incrby: Run = (client, [, key, by]) => add(client, key, integer(by));
const decrby: Run = (client, [, key, by]) => {
  const value = integer(by);
  if (value === LEAST) throw new CommandError('ERR decrement would overflow');
  add(client, key, -value);
};

const incrbyfloat: Run = ({ store, reply }, [, key, by]) => {
  const before = store.map.get(key);
  const value = Buffer.from(
    addDecimals(before ? Buffer.from(before).toString('latin1') : '0', by.toString('latin1')),
  );
  store.set(key, value, 'keep');
  reply.bulk(value);
};

const FLAGS = 'write denyoom fast';

export const counters = commandsOf('string', {
  incr: { arity: 2, flags: FLAGS, keys: ONE_KEY, since: '1.0.0', summary: 'Adds one', run: incr },
  decr: { arity: 2, flags: FLAGS, keys: ONE_KEY, since: '1.0.0', summary: 'Takes one away', run: decr },
  incrby: { arity: 3, flags: FLAGS, keys: ONE_KEY, since: '1.0.0', summary: 'Adds a whole number', run: incrby },
  decrby: { arity: 3, flags: FLAGS, keys: ONE_KEY, since: '1.0.0', summary: 'Takes a whole number away', run: decrby },
  incrbyfloat: { arity: 3, flags: FLAGS, keys: ONE_KEY, since: '2.6.0', summary: 'Adds a decimal number', run: incrbyfloat },
}); // prettier-ignore
