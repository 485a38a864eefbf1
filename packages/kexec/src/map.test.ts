/**
 * Views of files on mapped RAM: live, in one piece where the file is not, beyond 4 GiB, and through
 * growth of the file.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { MappedRam } from '@liveupdate/linux';
import { PageAllocator, PageTable } from '@liveupdate/mm';
import {
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  Shmem,
  type HugePolicy,
  type ShmemFile,
} from '@liveupdate/shmem';
import { describe, expect, it, onTestFinished } from 'vitest';

const GIB = 2 ** 30;

/** A mount on sparse RAM: it takes the memory that is touched. */
function mount(size: number, huge: HugePolicy): Shmem {
  const ram = MappedRam.anonymous({ name: 'liveupdate-map-test', size });
  onTestFinished(() => ram.close());
  const table = new PageTable(size);
  table.reserve(0, 1);
  return new Shmem({ pages: new PageAllocator(ram, table), huge });
}

/** Gives a file more pages, which take no memory of the system yet. */
function grow(file: ShmemFile, by: number): void {
  file.truncate(file.size + by);
  file.map({ sparse: true }).unmap();
}

describe.each(['never', 'always'] as const)('huge pages: %s', (huge) => {
  it('a file of more than 4 GiB is one view, live in both directions', () => {
    const shmem = mount(6 * GIB, huge);
    const file = shmem.memfdCreate('f');
    file.truncate(5 * GIB + 5);
    const mapping = file.map({ sparse: true }); // a machine need not have so much
    expect(mapping.bytes.length).toBe(5 * GIB + 5);
    for (const at of [0, 4 * GIB - 1, 4 * GIB, 5 * GIB + 4]) {
      mapping.bytes[at] = 7;
      const seen = new Uint8Array(1);
      file.pread(seen, at);
      expect(seen[0]).toBe(7);
      file.pwrite(Uint8Array.of(9), at);
      expect(mapping.bytes[at]).toBe(9);
    }
    mapping.unmap();
    file.close();
    shmem.pages.assertConsistent();
    expect(shmem.used).toBe(0);
  });

  it('scattered pieces lie side by side in a view, beyond 4 GiB of file too', () => {
    const shmem = mount(5 * GIB, huge);
    const [file, other] = [shmem.memfdCreate('f'), shmem.memfdCreate('other')];
    const step = 256 * 2 ** 20;
    for (let at = 0; at < 4 * GIB + step; at += step) {
      grow(file, step);
      file.pwrite(Uint8Array.of(1 + ((at / step) % 250)), at);
      grow(other, 4 * 2 ** 20); // lies between this piece of the file and the next
    }
    let pieces = 0;
    file.inode.cache.forEachRun(0, file.size / PAGE_SIZE, () => (pieces += 1));
    expect(pieces).toBeGreaterThan(15);
    using mapping = file.map({ sparse: true });
    for (let at = 0; at < file.size; at += step) expect(mapping.bytes[at]).toBe(1 + ((at / step) % 250));
    mapping.bytes[4 * GIB + 77] = 42;
    const seen = new Uint8Array(1);
    file.pread(seen, 4 * GIB + 77);
    expect(seen[0]).toBe(42);
  });

  it('a view goes on showing its part while the file grows; the next one shows all', () => {
    const shmem = mount(GIB / 16, huge);
    const [file, other] = [shmem.memfdCreate('f'), shmem.memfdCreate('other')];
    file.write(new Uint8Array(3 * PAGE_SIZE).fill(1));
    const first = file.map();
    const before = first.bytes;
    for (let round = 0; round < 50; round++) {
      other.write(new Uint8Array(PAGE_SIZE));
      file.write(new Uint8Array(3 * PAGE_SIZE).fill(2 + round));
      first.bytes[PAGE_SIZE] = round;
      using all = file.map();
      expect([all.bytes.length, all.bytes[PAGE_SIZE], all.bytes.at(-1)]).toEqual([
        file.size,
        round,
        2 + round,
      ]);
    }
    expect(first.bytes).toBe(before);
    expect(first.bytes.length).toBe(3 * PAGE_SIZE);
    file.fallocate(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, 2 * PAGE_SIZE);
    first.bytes[5] = 99; // still the file's byte
    const seen = new Uint8Array(6);
    file.pread(seen, 0);
    expect([...seen]).toEqual([0, 0, 0, 0, 0, 99]);
    first.unmap();
    file.close();
    other.close();
    shmem.pages.assertConsistent();
    expect(shmem.used).toBe(0);
  });
});
