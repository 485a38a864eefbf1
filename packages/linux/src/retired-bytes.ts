/**
 * What the bytes of a view become when it is taken down: an empty array. The language lets most
 * methods of an array without a buffer throw; a program that is late must not end for that.
 */

const EMPTY = new Uint8Array(0);

/** The methods of a Uint8Array as an empty one has them. */
const asEmpty = Object.create(Uint8Array.prototype) as object;

for (const prototype of [Object.getPrototypeOf(Uint8Array.prototype) as object, Uint8Array.prototype]) {
  for (const name of Reflect.ownKeys(prototype)) {
    const method = Reflect.getOwnPropertyDescriptor(prototype, name)?.value as unknown;
    if (name === 'constructor' || typeof method !== 'function') continue;
    const value = function (this: unknown, ...args: unknown[]): unknown {
      const result: unknown = Reflect.apply(method, EMPTY, args);
      return result === EMPTY ? this : result;
    };
    Object.defineProperty(asEmpty, name, { value, writable: true, configurable: true });
  }
}

/**
 * Makes a detached array one whose methods do what those of an empty array do; not one that may not
 * be changed.
 */
export function becomeEmpty(bytes: Uint8Array): void {
  Reflect.setPrototypeOf(bytes, asEmpty);
}
