/** Bytes of the map as what its user asked for. */
import type { Memory } from './memory.ts';

/** How keys or values are returned: `'utf8'` as strings, `'view'` as bytes of their own. */
export type Encoding = 'utf8' | 'view';

/** Reads from one byte to another, of the map or of other bytes. */
export type Decode<T> = (from: number, to: number, bytes?: Uint8Array) => T;

/** Where there is Node.js, its decoder is several times as fast for short texts. */
interface NodeBuffer extends Uint8Array {
  utf8Slice(from: number, to: number): string;
}
interface NodeBufferClass {
  from(buffer: ArrayBufferLike, at: number, length: number): NodeBuffer;
}

const BufferClass = (globalThis as unknown as { Buffer?: NodeBufferClass }).Buffer;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export function decoderOf(encoding: Encoding, memory: Memory): Decode<string> | Decode<Uint8Array> {
  if (encoding === 'view') return (from, to, bytes = memory.bytes) => bytes.slice(from, to);
  const buffer = nodeBuffer(memory.bytes);
  if (!buffer) return (from, to, bytes = memory.bytes) => decoder.decode(bytes.subarray(from, to));
  return (from, to, bytes) => (bytes ? decoder.decode(bytes.subarray(from, to)) : buffer.utf8Slice(from, to));
}

function nodeBuffer({ buffer, byteOffset, byteLength }: Uint8Array): NodeBuffer | undefined {
  const node = BufferClass?.from(buffer, byteOffset, byteLength);
  return typeof node?.utf8Slice === 'function' ? node : undefined;
}
