/** What is kept of a WebSocket connection is what has come since its last whole message. */
import { Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { expect, test } from 'vitest';
import { FrameReader } from './websocket-frames.ts';

function frame(opcode: number, isFinal: boolean, payload: Buffer, isMasked: boolean): Buffer {
  const { length } = payload;
  const size = length < 126 ? Buffer.of(length) : Buffer.alloc(length < 2 ** 16 ? 3 : 9);
  if (length >= 2 ** 16) size.writeBigUInt64BE(BigInt(length), 1);
  else if (length >= 126) size.writeUInt16BE(length, 1);
  if (length >= 126) size[0] = length < 2 ** 16 ? 126 : 127;
  if (isMasked) size[0] |= 0x80;
  return Buffer.concat([
    Buffer.of(opcode | (isFinal ? 0x80 : 0)),
    size,
    Buffer.alloc(isMasked ? 4 : 0, 7),
    payload,
  ]);
}

test('of any frames in any parts', () => {
  const random = new Prng(seed);
  for (let round = 0; round < 60; round++) {
    const reader = new FrameReader();
    let since = Buffer.alloc(0); // the last message that was whole
    let isOpen = false;
    for (let i = 0; i < 20; i++) {
      const isControl = random.below(4) === 0;
      const isFinal = isControl || random.below(2) === 0;
      const length = [0, 1, 125, 126, 127, 65_535, 65_536, 600_000][random.below(isControl ? 3 : 8)];
      const bytes = frame(
        isControl ? 9 : isOpen ? 0 : 1,
        isFinal,
        Buffer.alloc(length, 0x81),
        random.below(2) === 0,
      );
      if (!isControl) isOpen = !isFinal;
      for (let at = 0; at < bytes.length;) {
        const some = bytes.subarray(at, at + 1 + random.below(random.below(4) === 0 ? 4 : 200_000));
        reader.add(some);
        since = Buffer.concat([since, some]);
        at += some.length;
        if (at === bytes.length && !isOpen) since = Buffer.alloc(0);
        const rest = reader.rest();
        if (since.length > 2 ** 20) expect(rest).toBeUndefined();
        else expect(rest?.equals(since)).toBe(true);
      }
    }
  }
});
