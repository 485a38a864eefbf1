import { expect, it } from 'vitest';
import { Memory } from './memory.ts';
import { decoderOf } from './text.ts';

it('bytes that are too many for a string of this system are refused with a code', () => {
  const decode = decoderOf('utf8', new Memory(new Uint8Array(2 ** 30)));
  expect(decode(8, 16)).toBe('\0'.repeat(8));
  expect(() => decode(0, 2 ** 30)).toThrow(expect.objectContaining({ code: 'EMSGSIZE' }) as Error);
});
