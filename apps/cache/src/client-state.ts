/** What one generation tells the next of a connection: in JSON, with bytes in base64. */
import type { ProtocolVersion } from './reply.ts';

/** Any generation reads what any other one writes: what is added has to be optional. */
export interface ClientState {
  readonly id: number;
  readonly name: string;
  readonly library: { readonly name: string; readonly version: string };
  readonly version: ProtocolVersion;
  readonly replies: 'on' | 'off' | 'skip';
  /** Milliseconds since the epoch. */
  readonly connectedAt: number;
  /** Requests that MULTI has gathered. */
  readonly transaction?: { readonly isBroken: boolean; readonly queue: readonly (readonly Buffer[])[] };
  readonly watched: readonly { readonly key: Buffer; readonly wasThere: boolean }[];
  readonly isDirty: boolean;
  /** What was read, and made no request yet. */
  readonly rest: Buffer;
}

/** Bytes of what the client has sent. */
export function sizeOf({ transaction, watched, rest }: ClientState): number {
  const sent = [rest, ...(transaction?.queue.flat() ?? []), ...watched.map(({ key }) => key)];
  return sent.reduce((sum, { length }) => sum + length, 0);
}

interface Base64 {
  readonly base64: string;
}

function isBase64(value: unknown): value is Base64 {
  return typeof value === 'object' && value !== null && 'base64' in value;
}

export function packState(state: ClientState): Buffer {
  // A replacer sees what a Buffer makes of itself, so it looks at what holds it.
  const text = JSON.stringify(state, function (this: Record<string, unknown>, key, value: unknown) {
    const held = this[key];
    return Buffer.isBuffer(held) ? { base64: held.toString('base64') } : value;
  });
  return Buffer.from(text);
}

export function unpackState(bytes: Uint8Array): ClientState {
  return JSON.parse(Buffer.from(bytes).toString(), (_, value: unknown) =>
    isBase64(value) ? Buffer.from(value.base64, 'base64') : value,
  ) as ClientState;
}
