/**
 * A map that is written: for one writer at a time.
 *
 * Always: each call is one change of the journal, or several that each leave a whole map (removing
 * what expired or what was used the longest ago, splitting a bucket). Whoever opens the file after
 * a death at any instruction finds each key with its old or its new value.
 */
import { bytesOf, checkOptions, checkWhole, DISPOSE, KernelError, type Bytes } from '@liveupdate/base';
import type { SharedView } from '@liveupdate/mm';
import { compact, type Compaction } from './compact.ts';
import {
  bigNumberOf,
  expires,
  expiryOf,
  highWord,
  isNumber,
  keyLengthOf,
  lowWord,
  safeNumberOf,
  valueAt,
  valueLengthOf,
} from './entry.ts';
import { clear } from './format.ts';
import {
  ENTRY_EXPIRES,
  ENTRY_IS_NUMBER,
  ENTRY_KEY,
  entryUnits,
  EXPIRY_WORDS,
  FLAG_BITS,
  Header,
  LEAST_UNITS,
  USER_BYTES,
} from './abi.ts';
import type { Decoded, ReaderOptions, SetOptions, StoredMap } from './map.ts';
import type { Memory } from './memory.ts';
import { EntryWriter, MOST_IN_PLACE, MOST_JOURNALED } from './entry-writer.ts';
import { ReadMap } from './reader.ts';
import { Room } from './room.ts';
import type { Encoding } from './text.ts';
import { checkWholeMap } from './verify.ts';

/** Where the bytes of a map are, for the map itself. */
export interface Ground {
  readonly share: () => SharedView;
  readonly close: () => void;
  /** Bytes of the map beyond which entries are removed. */
  readonly most: number;
}

const MOST_INT64 = 2n ** 63n - 1n;
const LEAST_INT64 = -(2n ** 63n);
/** The latest moment that a Date can be. */
const MOST_MOMENT = 8.64e15;
const INTEGER = /^(?:0|-?[1-9]\d{0,18})$/;
/** Blocks that a compaction goes over between two looks at the clock. */
const STEPS_A_LOOK = 16;

export class WrittenMap<Key extends Decoded, Value extends Decoded>
  extends ReadMap<Key, Value>
  implements StoredMap<Key, Value>
{
  readonly #ground: Ground;
  readonly #writer: EntryWriter;
  readonly #room: Room;

  /** @internal Call openMap. */
  constructor(memory: Memory, options: ReaderOptions<Encoding, Encoding>, ground: Ground) {
    super(memory, options);
    this.#ground = ground;
    this.#writer = new EntryWriter(memory, this.table, this.key);
    this.#room = new Room({
      memory,
      table: this.table,
      writer: this.#writer,
      most: ground.most,
      isExpired: (entry) => this.isExpired(entry),
      now: this.now,
    });
  }

  /** What has expired is removed where it is met; what is looked at was used. */
  protected override lookUp(key: string | Bytes): number {
    this.checkOpen();
    this.putKey(key);
    const entry = this.table.find(this.hash, this.key.words, this.key.length);
    if (entry === 0) return 0;
    if (this.isExpired(entry)) {
      this.#writer.remove(entry);
      return 0;
    }
    if (this.#writer.hasRecency) this.#writer.use(entry);
    return entry;
  }

  // ---- Writing ----------------------------------------------------------------------------------

  set(key: string | Bytes, value: string | Bytes, options?: SetOptions): void {
    this.checkOpen();
    const expiry = options === undefined ? Infinity : checkExpires(options);
    this.putKey(key);
    try {
      this.#writer.value.put(value, 'value', MOST_VALUE_BYTES);
      this.#put(expiry, 0);
    } finally {
      this.#writer.value.shrink();
    }
  }

  increment(key: string | Bytes, by?: number): number;
  increment(key: string | Bytes, by: bigint): bigint;
  increment(key: string | Bytes, by: number | bigint = 1): number | bigint {
    if (typeof by !== 'bigint') checkWhole(by, 'what is added', { min: Number.MIN_SAFE_INTEGER });
    const entry = this.lookUp(key);
    const { words } = this.memory;
    const isCounter = entry !== 0 && isNumber(words, entry);
    const at = isCounter ? valueAt(words, entry, this.table.keyAt) : 0;
    const safe = isCounter ? safeNumberOf(words, at) : entry === 0 ? 0 : undefined;
    if (typeof by === 'number' && safe !== undefined) {
      const sum = safe + by;
      if (!Number.isSafeInteger(sum)) throw beyond('2^53');
      this.#writer.low = lowWord(sum);
      this.#writer.high = highWord(sum);
      this.#putNumber(entry, isCounter, at);
      return sum;
    }
    const before =
      safe !== undefined ? BigInt(safe) : isCounter ? bigNumberOf(words, at) : this.#integerOf(entry);
    const sum = before + BigInt(by);
    if (sum > MOST_INT64 || sum < LEAST_INT64) throw beyond('64 bits');
    const result = Number(sum);
    if (typeof by === 'number' && !Number.isSafeInteger(result)) throw beyond('2^53');
    this.#writer.low = Number(BigInt.asIntN(32, sum));
    this.#writer.high = Number(sum >> 32n);
    this.#putNumber(entry, isCounter, at);
    return typeof by === 'bigint' ? sum : result;
  }

  #putNumber(entry: number, isCounter: boolean, at: number): void {
    if (!isCounter) {
      // When it expires was seen together with its value; between the two looks it may expire.
      const expiry = entry === 0 ? Infinity : expiryOf(this.memory.words, entry, this.table.keyAt);
      this.#put(expiry, ENTRY_IS_NUMBER);
      return;
    }
    const { memory } = this;
    memory.begin(this.table.head);
    memory.store(at, this.#writer.low);
    memory.store(at + 1, this.#writer.high);
    memory.commit();
  }

  /** @throws KernelError EINVAL: the value is no whole number */
  #integerOf(entry: number): bigint {
    const { words } = this.memory;
    if (valueLengthOf(words, entry) <= 20) {
      const text = String.fromCharCode(...this.bytesOf(entry));
      if (INTEGER.test(text)) {
        const number = BigInt(text);
        if (number <= MOST_INT64 && number >= LEAST_INT64) return number;
      }
    }
    throw new KernelError('EINVAL', 'the value of this key is no whole number of 64 bits');
  }

  delete(key: string | Bytes): boolean {
    this.checkOpen();
    this.putKey(key);
    const entry = this.table.find(this.hash, this.key.words, this.key.length);
    if (entry === 0) return false;
    const wasThere = !this.isExpired(entry);
    this.#writer.remove(entry);
    return wasThere;
  }

  expireAt(key: string | Bytes, moment: number): boolean {
    const expiry = checkMoment(moment);
    const entry = this.lookUp(key);
    if (entry === 0) return false;
    if (expiry <= this.now()) {
      this.#writer.remove(entry);
      return true;
    }
    const { memory, table } = this;
    const { words } = memory;
    if (expires(words, entry) === (expiry !== Infinity)) {
      if (expiry === Infinity) return true;
      memory.begin(table.head);
      this.#room.noteExpiry(expiry);
      this.#writer.storeExpiry(valueAt(words, entry, table.keyAt) - EXPIRY_WORDS, expiry);
      memory.commit();
      return true;
    }
    if (isNumber(words, entry)) {
      const at = valueAt(words, entry, table.keyAt);
      this.#writer.low = words[at];
      this.#writer.high = words[at + 1];
      this.#put(expiry, ENTRY_IS_NUMBER);
    } else {
      try {
        this.#writer.value.put(this.bytesOf(entry), 'value', MOST_VALUE_BYTES);
        this.#put(expiry, 0);
      } finally {
        this.#writer.value.shrink();
      }
    }
    return true;
  }

  clear(): void {
    this.checkOpen();
    clear(this.memory);
  }

  override set header(bytes: Uint8Array) {
    this.checkOpen();
    const given = bytesOf(bytes);
    if (given.length > USER_BYTES)
      throw new KernelError(
        'EINVAL',
        `a header has at most ${USER_BYTES} bytes, and this one ${given.length}`,
      );
    this.#writer.value.put(given, 'value', USER_BYTES);
    const { memory } = this;
    const { words, length } = this.#writer.value;
    memory.begin(Header.shape);
    for (let i = 0; i < length; i += 4) memory.store(Header.user + i / 4, words[i / 4]);
    memory.store(Header.userLength, length);
    memory.commit();
  }

  override get header(): Uint8Array<ArrayBuffer> {
    return super.header;
  }

  override set schema(schema: number) {
    checkWhole(schema, 'a schema', { max: 2 ** 31 - 1 });
    this.checkOpen();
    this.memory.words[Header.schema] = schema;
  }

  override get schema(): number {
    return super.schema;
  }

  // ---- One change -------------------------------------------------------------------------------

  /** Stores what is in `key` and in the value of the writer, or its number. */
  #put(expiry: number | 'keep', kind: number): void {
    const { memory, table, key } = this;
    const isCounter = kind === ENTRY_IS_NUMBER;
    const valueWords = isCounter ? 2 : (this.#writer.value.length + 3) >>> 2;
    const keyWords = (key.length + 3) >>> 2;
    this.#room.beginValue();
    this.#writer.hash = this.hash;
    let kept: number;
    for (;;) {
      const { words } = memory;
      const old = table.find(this.hash, key.words, key.length);
      if (old !== 0 && this.isExpired(old)) {
        this.#writer.remove(old);
        continue;
      }
      kept = expiry === 'keep' ? (old === 0 ? Infinity : expiryOf(words, old, table.keyAt)) : expiry;
      const flags = kind | (kept === Infinity ? 0 : ENTRY_EXPIRES);
      const units = entryUnits(table.keyAt + keyWords + (kept === Infinity ? 0 : EXPIRY_WORDS) + valueWords);
      if (units >= MOST_UNITS)
        throw new KernelError(
          'EMSGSIZE',
          `a value has less than 1 GiB, and this one ${this.#writer.value.length} bytes`,
        );
      const before = old === 0 ? 0 : words[old] >>> FLAG_BITS;
      const spare = before - units;
      const isAlike = spare >= 0 && flagsOf(words, old) === flags;
      if (isAlike && spare < LEAST_UNITS && valueWords <= MOST_IN_PLACE) {
        this.#writer.overwrite(old, kept, valueWords, isCounter);
        break;
      }
      if (
        this.#writer.hasRecency &&
        this.#room.isOverFull(units - before) &&
        !this.#room.isWorthOthers(units, before)
      )
        throw this.#room.full(units);
      if (this.#writer.write(old, units, flags, kept)) {
        if (!table.grow()) this.#room.makeRoomToGrow();
        if (this.#writer.hasRecency) this.#room.trim(units);
        break;
      }
      // Without memory for another entry, what fits is overwritten where it lies, too.
      if (isAlike && valueWords <= MOST_JOURNALED) {
        this.#writer.overwrite(old, kept, valueWords, isCounter);
        break;
      }
      if (!this.#room.makeRoom(units, old)) throw this.#room.full(units);
    }
    this.#room.noteExpiry(kept);
  }

  sweep(most: number): number {
    checkWhole(most, 'a number of keys', { min: 1 });
    this.checkOpen();
    return this.#room.sweep(most);
  }

  compact(milliseconds: number): Compaction {
    if (typeof milliseconds !== 'number' || !(milliseconds > 0))
      throw new KernelError('EINVAL', 'a compaction is given milliseconds, more than 0');
    this.checkOpen();
    const end = performance.now() + milliseconds;
    let steps = 0;
    const isOver = (): boolean => (++steps & (STEPS_A_LOOK - 1)) === 0 && performance.now() >= end;
    return compact(this.memory, this.table, isOver);
  }

  // ---- The map itself ---------------------------------------------------------------------------

  share(): SharedView {
    this.checkOpen();
    return this.#ground.share();
  }

  verify(): void {
    this.checkOpen();
    checkWholeMap(this.memory, this.table.keyAt);
  }

  close(): void {
    if (this.memory.isBusy) this.checkOpen();
    this.memory.words = new Int32Array(0);
    this.memory.bytes = new Uint8Array(0);
    this.#ground.close();
  }

  [DISPOSE](): void {
    this.close();
  }
}

const MOST_UNITS = 2 ** 27 - 1;
const MOST_VALUE_BYTES = 2 ** 30 - 1;

function flagsOf(words: Int32Array, entry: number): number {
  return words[entry + ENTRY_KEY] - keyLengthOf(words, entry);
}

function beyond(what: string): KernelError {
  return new KernelError('ERANGE', `the sum is beyond ${what}`);
}

function checkExpires(options: SetOptions): number | 'keep' {
  checkOptions(options, 'set', ['expires']);
  const { expires = Infinity } = options;
  return expires === 'keep' ? expires : checkMoment(expires);
}

/** @throws KernelError EINVAL: no moment */
function checkMoment(moment: number): number {
  if (moment === Infinity) return moment;
  return checkWhole(moment, 'a moment, in milliseconds since the epoch', { max: MOST_MOMENT });
}
