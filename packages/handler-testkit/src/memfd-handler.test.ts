/** Our own memfd handler, by the suite that everybody's handler goes by. */
import { PAGE_SIZE } from '@liveupdate/base';
import { MEMFD_V1, memfdHandler } from '@liveupdate/memfd-handler';
import type { FileHandler } from '@liveupdate/luo-core';
import { MFD_ALLOW_SEALING, SEAL_GROW, type ShmemFile } from '@liveupdate/shmem';
import * as test from 'vitest';
import { testFileHandler, type KernelParts } from './index.ts';
import { processes } from './processes.ts';

/** Where memfd-v2 has the seals. */
const MemfdV2Seals = { at: 16, bytes: 4 };

/** Pages of the file: some written, some holes. */
const PAGES = 20;

function content(file: ShmemFile): Uint8Array {
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  return bytes;
}

/** The handler as it was in Linux 6.19: a record without seals. */
function memfdV1Handler(parts: KernelParts): FileHandler<ShmemFile> {
  const handler = memfdHandler(parts);
  return {
    ...handler,
    compatible: MEMFD_V1,
    alsoReads: [],
    async freeze(context) {
      await handler.freeze?.(context);
      parts.kho.at(context.data).bytes.copyWithin(16, 24, 48); // the seals and flags left out
      return undefined;
    },
  };
}

const hasSameBytes = (actual: ShmemFile, expected: ShmemFile) =>
  actual.position === expected.position && Buffer.compare(content(actual), content(expected)) === 0;

testFileHandler<ShmemFile>({
  test,
  title: 'memfd',
  handler: memfdHandler,
  make({ shmem }) {
    const file = shmem.memfdCreate('suite', MFD_ALLOW_SEALING);
    file.pwrite(new Uint8Array(3 * PAGE_SIZE).fill(1), PAGE_SIZE);
    file.truncate(PAGES * PAGE_SIZE - 5);
    file.addSeals(SEAL_GROW);
    return file;
  },
  change(file) {
    const [count] = content(file).subarray(PAGE_SIZE);
    file.pwrite(Uint8Array.of(count + 1), PAGE_SIZE);
    file.pwrite(new Uint8Array(100).fill(count + 100), (2 + count) * PAGE_SIZE - 50);
    file.seek(1000 + count);
  },
  same: (actual, expected) => hasSameBytes(actual, expected) && actual.inode.seals === expected.inode.seals,
  older: [{ handler: memfdV1Handler, same: hasSameBytes }],
  damage: {
    'unknown seals': (record) => record.setU32(MemfdV2Seals, 64),
  },
  processes: processes(import.meta.url),
});
