/** Commands of single bits: the first is the highest of the first byte. */
import { CommandError, commandsOf, ONE_KEY, type Run } from '../command.ts';
import { MOST_BYTES } from '../request-parser.ts';
import { asInteger } from '../words.ts';

const BITS = 8;
const EMPTY = Buffer.alloc(0);

interface Place {
  readonly byte: number;
  readonly mask: number;
}

function placeOf(bytes: Buffer): Place {
  const offset = asInteger(bytes);
  if (offset === undefined || offset < 0n || offset >= BITS * MOST_BYTES)
    throw new CommandError('ERR bit offset is not an integer or out of range');
  const at = Number(offset);
  return { byte: Math.floor(at / BITS), mask: 128 >> (at % BITS) };
}

const getbit: Run = ({ store, reply }, [, key, offset]) => {
  const { byte, mask } = placeOf(offset);
  const isThere = store.read(key, (value) => {
    reply.integer(byte < value.length && (value[byte] & mask) !== 0 ? 1 : 0);
  });
  if (!isThere) reply.integer(0);
};

const setbit: Run = ({ store, reply }, [, key, offset, bit]) => {
  const { byte, mask } = placeOf(offset);
  const text = bit.toString('latin1');
  if (text !== '0' && text !== '1') throw new CommandError('ERR bit is not an integer or out of range');
  const before = store.map.get(key) ?? EMPTY;
  const value = Buffer.alloc(Math.max(before.length, byte + 1));
  value.set(before);
  reply.integer((value[byte] & mask) === 0 ? 0 : 1);
  if (text === '1') value[byte] |= mask;
  else value[byte] &= ~mask;
  store.set(key, value, 'keep');
};

export const bits = commandsOf('bitmap', {
  getbit: { arity: 3, flags: 'readonly fast', keys: ONE_KEY, since: '2.2.0', summary: 'One bit of a value', run: getbit },
  setbit: { arity: 4, flags: 'write denyoom', keys: ONE_KEY, since: '2.2.0', summary: 'Sets one bit of a value', run: setbit },
}); // prettier-ignore
