/** The registered handlers: which takes a file, and which reads a record. */
import { byteLength, KernelError } from '@liveupdate/base';
import { MAX_COMPATIBLE } from './abi.ts';
import type { FileHandler, PreservableFile } from './handler.ts';

const REQUIRED = ['canPreserve', 'preserve', 'unpreserve', 'retrieve', 'finish'] as const;

function checkCompatible(given: unknown): void {
  const compatible = typeof given === 'string' ? given : '';
  const bytes = byteLength(compatible);
  if (bytes < 1 || bytes > MAX_COMPATIBLE || compatible.includes('\0') || !compatible.isWellFormed()) {
    throw new KernelError(
      'EINVAL',
      `'${String(given)}' is no compatible string: 1 to ${MAX_COMPATIBLE} bytes, such as 'memfd-v2'`,
    );
  }
}

export class HandlerRegistry {
  readonly #handlers: FileHandler[] = [];

  /**
   * @throws KernelError EINVAL: a required callback is missing, or the compatible string is empty or over 47 bytes. EEXIST: the string is
   * taken.
   */
  register(handler: FileHandler): void {
    checkCompatible(handler.compatible);
    handler.alsoReads?.forEach(checkCompatible);
    for (const callback of REQUIRED) {
      if (typeof handler[callback] !== 'function')
        throw new KernelError('EINVAL', `handler '${handler.compatible}' has no ${callback}()`);
    }
    if (this.#handlers.some((other) => other.compatible === handler.compatible)) {
      throw new KernelError('EEXIST', `there is a handler '${handler.compatible}' already`);
    }
    this.#handlers.push(handler);
  }

  /** @throws KernelError ENOENT: not registered */
  unregister(handler: FileHandler): void {
    const at = this.#handlers.indexOf(handler);
    if (at < 0) throw new KernelError('ENOENT', `handler '${handler.compatible}' is not registered`);
    this.#handlers.splice(at, 1);
  }

  /** The first handler that takes the file. */
  forFile(file: PreservableFile): FileHandler | undefined {
    return this.#handlers.find((handler) => handler.canPreserve(file));
  }

  /** The handler that reads records with this string: the one that writes it, else the first that also reads it. */
  forRecord(compatible: string): FileHandler | undefined {
    return (
      this.#handlers.find((handler) => handler.compatible === compatible) ??
      this.#handlers.find((handler) => handler.alsoReads?.includes(compatible))
    );
  }

  get compatibles(): string[] {
    return this.#handlers.map((handler) => handler.compatible);
  }
}
