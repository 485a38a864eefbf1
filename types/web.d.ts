// What the core packages use beyond the language itself: present in browsers and in Node.js alike.

declare class TextEncoder {
  encode(input?: string): Uint8Array<ArrayBuffer>;
  encodeInto(source: string, destination: Uint8Array): { read: number; written: number };
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(input?: ArrayBuffer | ArrayBufferView): string;
}

declare const console: { warn(text: string): void };

declare const performance: { now(): number };

declare function setTimeout(callback: () => void, milliseconds: number): unknown;

declare function clearTimeout(timer: unknown): void;

declare function queueMicrotask(callback: () => void): void;

interface ImportMeta {
  readonly url: string;
}

declare const crypto: { getRandomValues(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> };
