/** Unpacks one page of a kdump. */
import * as zlib from 'node:zlib';
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { snappyUncompressor } from 'hysnappy';
import { PACKED_LZO, PACKED_SNAPPY, PACKED_ZLIB, PACKED_ZSTD } from './kdump-layout.ts';

/** Never more than a page, whatever the data claims. */
const ONE_PAGE = { chunkSize: PAGE_SIZE, maxOutputLength: PAGE_SIZE };
/** A snappy block of a page begins with its length: 4096 as a varint. */
const SNAPPY_PAGE = [0x80, 0x20];

/** Made when it is first needed: to make it takes longer than to unpack a page. */
let uncompress: ReturnType<typeof snappyUncompressor> | undefined;

function unpackSnappy(packed: Uint8Array): Uint8Array {
  uncompress ??= snappyUncompressor();
  try {
    return uncompress(packed, PAGE_SIZE);
  } catch (error) {
    uncompress = undefined; // whatever the damage did to its memory
    throw error;
  }
}

export function noLzo(): KernelError {
  return new KernelError(
    'EOPNOTSUPP',
    'this kdump is compressed with lzo, which is not read here: write it again with zlib (makedumpfile -c, dump-guest-memory -z)',
  );
}

/**
 * The bytes of a page.
 *
 * @throws KernelError EINVAL: damaged, or packed in a way that is not known. EOPNOTSUPP: lzo; zstd,
 * where Node.js has none
 */
export function unpackPage(packed: Uint8Array, flags: number): Uint8Array {
  const page = unpack(packed, flags);
  if (page.length !== PAGE_SIZE)
    throw new KernelError('EINVAL', `it unpacks to ${page.length} bytes, ${PAGE_SIZE} expected`);
  return page;
}

function unpack(packed: Uint8Array, flags: number): Uint8Array {
  switch (flags) {
    case 0:
      return packed;
    case PACKED_LZO:
      throw noLzo();
    case PACKED_ZLIB:
      return orDamaged('zlib', () => zlib.inflateSync(packed, ONE_PAGE));
    case PACKED_ZSTD:
      checkZstd();
      return orDamaged('zstd', () => zlib.zstdDecompressSync(packed, ONE_PAGE));
    case PACKED_SNAPPY:
      if (packed[0] !== SNAPPY_PAGE[0] || packed[1] !== SNAPPY_PAGE[1])
        throw new KernelError('EINVAL', 'its snappy data is of no page');
      return orDamaged('snappy', () => unpackSnappy(packed));
    default:
      throw new KernelError(
        'EINVAL',
        `it is packed in a way that is not known (flags 0x${flags.toString(16)})`,
      );
  }
}

function checkZstd(): void {
  if ((zlib as Partial<typeof zlib>).zstdDecompressSync) return;
  throw new KernelError(
    'EOPNOTSUPP',
    `this kdump is compressed with zstd, which Node.js ${process.versions.node} does not read: use 22.15, 23.11 or newer`,
  );
}

function orDamaged(what: string, read: () => Uint8Array): Uint8Array {
  try {
    return read();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new KernelError('EINVAL', `its ${what} data is damaged (${why})`, { cause });
  }
}
