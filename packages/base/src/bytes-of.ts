/**
 * What callers pass where bytes are wanted: any view of a buffer, or a whole buffer, as the bytes
 * that it has.
 */
import { KernelError } from './errors.ts';

/**
 * Bytes in memory as a caller may have them: a typed array of any kind or a DataView, for which its
 * own bytes are meant, however wide its elements; or a whole ArrayBuffer or SharedArrayBuffer.
 * Lengths are always in bytes.
 */
export type Bytes = ArrayBufferView | ArrayBufferLike;

/**
 * The bytes themselves, not a copy.
 *
 * @throws KernelError EINVAL: nothing that has bytes, or the buffer was detached (transferred to
 * somebody else)
 */
export function bytesOf(given: Bytes): Uint8Array {
  if (given instanceof Uint8Array) {
    if (given.length === 0) checkAttached(given.buffer);
    return given;
  }
  const value: unknown = given; // a caller in JavaScript may pass anything
  if (ArrayBuffer.isView(value)) {
    checkAttached(value.buffer);
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  }
  if (value instanceof ArrayBuffer || isShared(value)) {
    checkAttached(value);
    return new Uint8Array(value);
  }
  throw new KernelError(
    'EINVAL',
    `bytes are expected (a typed array, a DataView or a buffer), not ${typeof given}`,
  );
}

function isShared(value: unknown): value is SharedArrayBuffer {
  return typeof SharedArrayBuffer !== 'undefined' && value instanceof SharedArrayBuffer;
}

function checkAttached(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer && buffer.detached)
    throw new KernelError('EINVAL', 'the buffer is detached: its bytes belong to somebody else now');
}
