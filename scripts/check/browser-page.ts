/**
 * A whole handover in one page: two kernel generations on one RAM, of which the second knows the
 * entry record only. It uses the core packages by their names, as they are installed, and nothing
 * of the platform.
 */

import { assert, fillRandom, PAGE_SIZE } from '@liveupdate/base';
import { boot, bootCold, KHO_COMPATIBLE, type Kho } from '@liveupdate/kho';
import { LiveUpdateOrchestrator, LUO_COMPATIBLE } from '@liveupdate/luo-core';
import { MEMFD_V2, memfdHandler } from '@liveupdate/memfd-handler';
import { HeapRam } from '@liveupdate/mm';
import { MFD_ALLOW_SEALING, SEAL_GROW, SEAL_SHRINK, Shmem, ShmemFile } from '@liveupdate/shmem';

const RAM_SIZE = 64 * 2 ** 20;
/** Several folios of each size, and an end that is not that of a page. */
const FILE_SIZE = 8 * 2 ** 20 + 5 * PAGE_SIZE + 123;
const POSITION = 4711;
const SEED = 20_260_101;

/** Pseudo-random bytes: the same in each generation, and kept in none of them. */
function content(): Uint8Array {
  const words = new Uint32Array(Math.ceil(FILE_SIZE / 4));
  fillRandom(words, SEED);
  return new Uint8Array(words.buffer, 0, FILE_SIZE);
}

function start(kho: Kho) {
  const shmem = new Shmem({ pages: kho.pages, huge: 'always' });
  return { shmem, luo: new LiveUpdateOrchestrator({ kho, handlers: [memfdHandler({ kho, shmem })] }) };
}

/**
 * Boots cold, fills a memfd, preserves and hands it over, boots again, retrieves, compares every
 * byte, finishes.
 *
 * @returns one line that tells what arrived
 * @throws AssertionError where anything did not
 */
export async function handover(): Promise<string> {
  const ram = new HeapRam(RAM_SIZE);
  const first = bootCold(ram);
  const before = start(first);
  const file = before.shmem.memfdCreate('page', MFD_ALLOW_SEALING);
  file.write(content());
  file.addSeals(SEAL_SHRINK | SEAL_GROW);
  file.seek(POSITION);
  await before.luo.createSession('page').preserve(file, 1);
  await before.luo.reboot();

  const second = boot(ram, first.entry, { freeMemory: 'poison' }); // nothing that was not preserved is there any more
  const after = start(second);
  const session = after.luo.retrieveSession('page');
  const same = await session.retrieve(1, ShmemFile);
  await session.finish();
  second.commit();

  const bytes = new Uint8Array(same.size);
  assert(same.pread(bytes, 0) === FILE_SIZE, 'the file arrives with its size');
  assert(
    content().every((byte, i) => byte === bytes[i]),
    'every byte arrives',
  );
  assert(same.position === POSITION, 'the position arrives');
  assert(same.seals === (SEAL_SHRINK | SEAL_GROW), 'the seals arrive');
  assert(after.luo.liveupdateNumber === 1n, 'this is the first live update');
  second.pages.assertConsistent();
  same.close();
  second.pages.assertConsistent();
  return `${FILE_SIZE} bytes through ${KHO_COMPATIBLE}, ${LUO_COMPATIBLE}, ${MEMFD_V2}`;
}
