/** Bytes of the map as what its user asked for. */
import { KernelError } from '@liveupdate/base';
import type { Memory } from './memory.ts';

/** How keys or values are returned: `'utf8'` as strings, `'view'` as bytes of their own. */
export type Encoding = 'utf8' | 'view';

/** Reads from one byte to another, of the map or of other bytes. */
export type Decode<T> = (from: number, to: number, bytes?: Uint8Array) => T;

/** Where there is Node.js, its Buffers decode and copy several times as fast what is short. */
interface NodeBuffer extends Uint8Array<ArrayBuffer> {
  utf8Slice(from: number, to: number): string;
}
interface NodeBufferClass {
  from(buffer: ArrayBufferLike, at: number, length: number): NodeBuffer;
  allocUnsafe(length: number): NodeBuffer;
}

const NodeBuffers = (globalThis as unknown as { Buffer?: NodeBufferClass }).Buffer;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Longer texts than this do not exist everywhere. */
const CERTAIN_TEXT = 2 ** 28;

export function decoderOf(
  encoding: Encoding,
  memory: Memory,
): Decode<string> | Decode<Uint8Array<ArrayBuffer>> {
  if (encoding === 'view') return (from, to, bytes = memory.bytes) => copyOf(bytes, from, to);
  const buffer = nodeBuffer(memory.bytes);
  const decode: Decode<string> = buffer
    ? (from, to, bytes) => (bytes ? decoder.decode(bytes.subarray(from, to)) : buffer.utf8Slice(from, to))
    : (from, to, bytes = memory.bytes) => decoder.decode(bytes.subarray(from, to));
  return (from, to, bytes) => {
    if (to - from <= CERTAIN_TEXT) return decode(from, to, bytes);
    try {
      return decode(from, to, bytes);
    } catch (error) {
      throw new KernelError(
        'EMSGSIZE',
        `a value of ${to - from} bytes makes no string here: read it as bytes`,
        { cause: error },
      );
    }
  };
}

/** A short one lies in the pool of Node.js's Buffers, which nobody can transfer. */
function copyOf(bytes: Uint8Array, from: number, to: number): Uint8Array<ArrayBuffer> {
  if (!NodeBuffers) return bytes.slice(from, to);
  const pooled = NodeBuffers.allocUnsafe(to - from);
  pooled.set(bytes.subarray(from, to));
  return new Uint8Array(pooled.buffer, pooled.byteOffset, to - from);
}

function nodeBuffer({ buffer, byteOffset, byteLength }: Uint8Array): NodeBuffer | undefined {
  const node = NodeBuffers?.from(buffer, byteOffset, byteLength);
  return typeof node?.utf8Slice === 'function' ? node : undefined;
}
