/** The registered handlers: which takes a file, and which reads a record. */
import { byteLength, checkObject, KernelError, shown } from '@liveupdate/base';
import { MAX_COMPATIBLE } from './abi.ts';
import { answerOf, kindOf, type CallbackOwner } from './callbacks.ts';
import type { FileHandler, PreservableFile } from './handler.ts';
import type { Flb } from './registered-flb.ts';

const REQUIRED = ['canPreserve', 'preserve', 'unpreserve', 'retrieve', 'finish'] as const;
const OPTIONAL = ['getId', 'preserveAll', 'freeze', 'checkpoint', 'unfreeze', 'canFinish'] as const;

const NONE: readonly never[] = [];

/** A handler, with what LUO keeps of it. */
export class RegisteredHandler implements CallbackOwner {
  readonly handler: FileHandler;
  /**
   * Its FLBs, in order of registration. Replaced, never changed: a preserved file remembers those
   * that it was counted for.
   */
  flbs: readonly Flb[] = NONE;
  /** Its preserved files and its incoming ones that are not finished. */
  files = 0;

  constructor(handler: FileHandler) {
    this.handler = handler;
  }

  get compatible(): string {
    return this.handler.compatible;
  }

  get title(): string {
    return `handler '${this.handler.compatible}'`;
  }
}

/**
 * Checks the strings of a handler or an FLB.
 *
 * @param kind for messages: `'handler'`, `'FLB'`
 * @throws KernelError EINVAL: not an object, or a string that is not 1 to 47 bytes of text
 */
export function checkStrings(kind: string, given: unknown): void {
  if (typeof given !== 'object' || given === null)
    throw new KernelError('EINVAL', `an ${kind} is an object, not ${kindOf(given)}`);
  const { compatible, alsoReads } = given as { compatible?: unknown; alsoReads?: unknown };
  checkCompatible(kind, 'compatible', compatible);
  if (alsoReads === undefined) return;
  if (!Array.isArray(alsoReads))
    throw new KernelError('EINVAL', `${kind} '${String(compatible)}': alsoReads is a list of strings`);
  for (const other of alsoReads as readonly unknown[])
    checkCompatible(`${kind} '${String(compatible)}'`, 'alsoReads', other);
}

function checkCompatible(whose: string, property: string, given: unknown): void {
  const compatible = typeof given === 'string' ? given : '';
  const bytes = byteLength(compatible);
  if (bytes < 1 || bytes > MAX_COMPATIBLE || compatible.includes('\0') || !compatible.isWellFormed()) {
    throw new KernelError(
      'EINVAL',
      `${whose}: ${property} '${String(given)}' is no compatible string: 1 to ${MAX_COMPATIBLE} bytes, such as 'memfd-v2'`,
    );
  }
}

/**
 * Checks that an object has functions by these names.
 *
 * @throws KernelError EINVAL: one is missing, or is no function
 */
export function checkCallbacks<T extends object>(
  title: string,
  given: T,
  required: readonly (keyof T & string)[],
  optional: readonly (keyof T & string)[],
): void {
  for (const callback of required)
    if (typeof given[callback] !== 'function')
      throw new KernelError('EINVAL', `${title} has no ${callback}()`);
  for (const callback of optional) {
    if (given[callback] !== undefined && typeof given[callback] !== 'function')
      throw new KernelError('EINVAL', `${title}: ${callback} is no function`);
  }
}

export class HandlerRegistry {
  readonly #handlers: RegisteredHandler[] = [];

  /**
   * @throws KernelError EINVAL: a required callback is missing, or the compatible string is empty
   * or over 47 bytes. EEXIST: the string is taken.
   */
  register(handler: FileHandler): RegisteredHandler {
    checkStrings('handler', handler);
    const registered = new RegisteredHandler(handler);
    checkCallbacks(registered.title, handler, REQUIRED, OPTIONAL);
    if (this.#handlers.some((other) => other.compatible === handler.compatible)) {
      throw new KernelError('EEXIST', `there is a handler '${handler.compatible}' already`);
    }
    this.#handlers.push(registered);
    return registered;
  }

  /** @throws KernelError ENOENT: not registered. EINVAL: no object */
  find(handler: FileHandler): RegisteredHandler {
    checkObject(handler, 'a handler');
    const registered = this.#handlers.find((other) => other.handler === handler);
    if (!registered)
      throw new KernelError('ENOENT', `handler ${shown(handler.compatible)} is not registered`);
    return registered;
  }

  /** @throws KernelError ENOENT: not registered */
  unregister(handler: FileHandler): void {
    this.#handlers.splice(this.#handlers.indexOf(this.find(handler)), 1);
  }

  /**
   * The first handler that takes the file.
   *
   * @throws KernelError EINVAL: a handler answers neither true nor false. What its canPreserve
   * throws.
   */
  forFile(file: PreservableFile): RegisteredHandler | undefined {
    return this.#handlers.find((registered) =>
      answerOf(registered, 'canPreserve', registered.handler.canPreserve(file)),
    );
  }

  /**
   * The handler that reads records with this string: the one that writes it, else the first that
   * also reads it.
   */
  forRecord(compatible: string): RegisteredHandler | undefined {
    return (
      this.#handlers.find((registered) => registered.compatible === compatible) ??
      this.#handlers.find(({ handler }) => handler.alsoReads?.includes(compatible))
    );
  }

  get compatibles(): string[] {
    return this.#handlers.map((handler) => handler.compatible);
  }
}
