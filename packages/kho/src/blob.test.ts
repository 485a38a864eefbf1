import { PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { KhoVmallocSer } from './abi.ts';
import {
  BLOB_DESCRIPTOR_SIZE,
  readBlobDescriptor,
  writeBlobDescriptor,
  type BlobDescriptor,
} from './blob-ser.ts';
import { allAre, coldKho, MiB, nextKho, snapshot, withCode } from './test-kho.ts';

const bytesOf = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 12)) & 0xff);

describe('a blob', () => {
  test.for([0, 1, 4095, 4096, 4097, 511 * 4096, 511 * 4096 + 1, 3_000_000])(
    'of %i bytes comes back as it was, once, and leaves nothing',
    (length) => {
      const kho = coldKho(16 * MiB);
      const before = snapshot(kho);
      const bytes = bytesOf(length);
      const blob = kho.preserveBlob(bytes);
      expect(blob.length).toBe(length);
      bytes.fill(0); // it was copied
      const record = kho.allocPreserve(BLOB_DESCRIPTOR_SIZE);
      writeBlobDescriptor(record.bytes.subarray(0, BLOB_DESCRIPTOR_SIZE), blob);

      const next = nextKho(kho, { freeMemory: 'poison' });
      const free = next.pages.freePages;
      const found = readBlobDescriptor(next.at(record.pa).bytes.subarray(0, BLOB_DESCRIPTOR_SIZE));
      expect(found).toEqual(blob);
      expect(Buffer.compare(next.restoreBlob(found), bytesOf(length))).toBe(0);
      const pages = Math.ceil(length / PAGE_SIZE);
      const chunks = length === 0 ? 0 : Math.floor(pages / 511) + 1;
      expect(next.pages.freePages - free).toBe(pages + chunks);
      if (length > 0) expect(() => next.restoreBlob(found)).toThrow(withCode('EINVAL'));
      next.pages.assertConsistent();

      kho.unpreserveFree(record.pa);
      kho.unpreserveBlob(blob);
      expect(snapshot(kho)).toEqual(before);
    },
  );

  test('for which there is no memory: ENOMEM, and nothing is kept', () => {
    const kho = coldKho();
    const before = snapshot(kho);
    expect(() => kho.preserveBlob(new Uint8Array(8 * MiB))).toThrow(withCode('ENOMEM'));
    expect(snapshot(kho)).toEqual(before);
  });

  test('is found by a descriptor of 24 bytes', () => {
    const bytes = new Uint8Array(24);
    const memory = { first: 0x1234_5000, totalPages: 3, flags: 1, order: 0 };
    writeBlobDescriptor(bytes, { length: 9000, memory });
    expect(Buffer.from(bytes).toString('hex')).toBe('28230000000000000050341200000000' + '0300000001000000');
    expect(readBlobDescriptor(bytes)).toEqual({ length: 9000, memory });
    expect(KhoVmallocSer.SIZE + 8).toBe(BLOB_DESCRIPTOR_SIZE);
  });
});

describe('a damaged blob is EINVAL, and nothing changes', () => {
  test.for<[what: string, harm: (blob: BlobDescriptor, pa: number) => BlobDescriptor]>([
    ['longer than its memory', (blob) => ({ ...blob, length: blob.length + PAGE_SIZE })],
    ['of no bytes, in memory', (blob) => ({ ...blob, length: 0 })],
    [
      'of bytes, in no memory',
      (blob) => ({ ...blob, memory: { first: 0, totalPages: 0, flags: 0, order: 0 } }),
    ],
    ['of fewer pages than listed', (blob) => ({ ...blob, memory: { ...blob.memory, totalPages: 2 } })],
    ['of pages without end', (blob) => ({ ...blob, memory: { ...blob.memory, totalPages: 2 ** 32 - 1 } })],
    ['whose list is elsewhere', (blob, pa) => ({ ...blob, memory: { ...blob.memory, first: pa } })],
    ['of another order', (blob) => ({ ...blob, memory: { ...blob.memory, order: 9 } })],
  ])('%s', ([, harm]) => {
    const kho = coldKho();
    const blob = kho.preserveBlob(bytesOf(9000));
    const other = kho.allocPreserve(8);
    other.bytes.fill(0xff);
    const next = nextKho(kho, { freeMemory: 'poison' });
    const before = snapshot(next);
    expect(() => next.restoreBlob(harm(blob, other.pa))).toThrow(withCode('EINVAL'));
    expect(snapshot(next)).toEqual(before);
    expect(next.restoreBlob(blob)).toHaveLength(9000);
  });

  test('a length beyond 2^53 is EOVERFLOW', () => {
    expect(() => readBlobDescriptor(new Uint8Array(24).fill(0xff))).toThrow(withCode('EOVERFLOW'));
  });

  test('the record of a blob of no bytes is all zero', () => {
    const bytes = new Uint8Array(24).fill(1);
    writeBlobDescriptor(bytes, coldKho().preserveBlob(new Uint8Array()));
    expect(allAre(bytes, 0)).toBe(true);
  });
});
