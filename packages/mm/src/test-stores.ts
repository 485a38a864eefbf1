/**
 * Records every store to a RAM in an ArrayBuffer, in order, whatever package makes it: element by
 * element through the plugin in scripts/stores, all others through the methods that make them.
 */
import { Prng } from '@liveupdate/base';

/** One store: bytes at an address. A bulk one may be torn anywhere. */
export interface Store {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly isBulk: boolean;
}

interface StoreRecorder {
  assign<T>(target: Record<PropertyKey, T>, key: PropertyKey, value: T): T;
  update<T>(target: Record<PropertyKey, T>, key: PropertyKey, change: (value: T) => T): T;
}

let buffer: ArrayBufferLike | undefined;
let stores: Store[] = [];

function note(view: ArrayBufferView, from: number, length: number, isBulk: boolean): void {
  if (view.buffer !== buffer || length <= 0) return;
  const at = view.byteOffset + from;
  stores.push({ at, bytes: new Uint8Array(view.buffer, at, length).slice(), isBulk });
}

function elementSize(view: ArrayBufferView): number {
  return (view as unknown as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
}

const recorder: StoreRecorder = {
  assign(target, key, value) {
    target[key] = value;
    if (ArrayBuffer.isView(target))
      note(target, Number(key) * elementSize(target), elementSize(target), false);
    return value;
  },
  update(target, key, change) {
    return recorder.assign(target, key, change(target[key]));
  },
};

type Method = (this: ArrayBufferView, ...args: unknown[]) => unknown;

/** Replaces a method by one that tells where it wrote. */
function replace(
  prototype: object,
  name: string,
  range: (view: ArrayBufferView, args: readonly unknown[], result: unknown) => [from: number, length: number],
  isBulk: boolean,
): void {
  const methods = prototype as Record<string, Method>;
  const original = methods[name];
  methods[name] = function (this: ArrayBufferView, ...args: unknown[]): unknown {
    const result = original.apply(this, args);
    if (this.buffer === buffer) note(this, ...range(this, args, result), isBulk);
    return result;
  };
}

let isInstalled = false;

function install(): void {
  if (isInstalled) return;
  isInstalled = true;
  const typed = Object.getPrototypeOf(Uint8Array.prototype) as object;
  replace(
    typed,
    'set',
    (view, [source, offset = 0]) => {
      const size = elementSize(view);
      return [Number(offset) * size, (source as ArrayLike<unknown>).length * size];
    },
    true,
  );
  replace(
    typed,
    'fill',
    (view, [, from = 0, end]) => {
      const size = elementSize(view);
      const to = end === undefined ? view.byteLength / size : Number(end);
      return [Number(from) * size, (to - Number(from)) * size];
    },
    true,
  );
  replace(typed, 'copyWithin', (view) => [0, view.byteLength], true);
  for (const name of Object.getOwnPropertyNames(DataView.prototype)) {
    const size = /^set\D+(\d+)$/.exec(name)?.[1];
    if (size !== undefined)
      replace(DataView.prototype, name, (_, [at]) => [Number(at), Number(size) / 8], false);
  }
  const encoder = TextEncoder.prototype as {
    encodeInto: (text: string, target: Uint8Array) => { written: number; read: number };
  };
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with the encoder below
  const { encodeInto } = TextEncoder.prototype;
  encoder.encodeInto = function (this: InstanceType<typeof TextEncoder>, text, target) {
    const result = encodeInto.call(this, text, target);
    note(target, 0, result.written, true);
    return result;
  };
  const { store } = Atomics;
  Atomics.store = ((view: Int32Array, at: number, value: number) => {
    const result = store(view, at, value);
    note(view, at * elementSize(view), elementSize(view), false);
    return result;
  }) as typeof Atomics.store;
}

install();

/** What stores to elements are told to: see scripts/stores/plugin.ts. */
const global = globalThis as { storeRecorder?: StoreRecorder | undefined };

/** The stores to a buffer while `work` runs, in order. */
export async function storesOf(memory: ArrayBufferLike, work: () => void | Promise<void>): Promise<Store[]> {
  buffer = memory;
  stores = [];
  global.storeRecorder = recorder;
  try {
    await work();
    return stores;
  } finally {
    global.storeRecorder = undefined;
    buffer = undefined;
    stores = [];
  }
}

/**
 * Bytes of a bulk store that is cut short: those from one place on or before it are there, or a
 * random half.
 */
function torn(image: Uint8Array, { at, bytes }: Store, random: Prng): Uint8Array[] {
  const cut = random.below(bytes.length);
  const [before, behind, half] = [image.slice(), image.slice(), image.slice()];
  before.set(bytes.subarray(0, cut), at);
  behind.set(bytes.subarray(cut), at + cut);
  const bits = random.below(2 ** 31);
  for (let i = 0; i < bytes.length; i++) if (((bits >>> (i % 29)) & 1) === 0) half[at + i] = bytes[i];
  return [before, behind, half];
}

/** Calls `visit` with memory as it is after each store, and in the midst of bulk ones. */
export async function forEachPrefix(
  image: Uint8Array,
  stores: readonly Store[],
  visit: (image: Uint8Array) => void | Promise<void>,
): Promise<number> {
  const random = new Prng(stores.length);
  let prefixes = 0;
  for (const store of stores) {
    const { at, bytes, isBulk } = store;
    if (isBulk && bytes.length > 4) {
      for (const part of torn(image, store, random)) {
        await visit(part);
        prefixes += 1;
      }
    }
    image.set(bytes, at);
    await visit(image);
    prefixes += 1;
  }
  return prefixes;
}
