import { PAGE_SIZE } from '@liveupdate/base';
import { HeapRam, SparseRam, type RamPiece, type RamView, type ViewOptions } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import type { ShmemFile } from './shmem-file.ts';
import { contents, layoutOf, mount, outcome, pattern, RAMS, snapshot } from './test-mount.ts';

/**
 * RAM that can map pieces side by side; here it copies them, and copies back when the view is
 * released.
 */
class GatheringRam extends HeapRam {
  readonly live: RamPiece[][] = [];

  view(pieces: readonly RamPiece[], { size }: ViewOptions): RamView {
    const mapped = [...pieces];
    this.live.push(mapped);
    const parts = mapped.map(({ pa, length }) => this.bytes(pa, length));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return {
      bytes: bytes.subarray(0, size),
      populate: () => Promise.resolve(),
      share: () => ({ address: 1n, length: size, live: new SharedArrayBuffer(4) }),
      release: () => {
        let from = 0;
        for (const part of parts) {
          part.set(bytes.subarray(from, from + part.length));
          from += part.length;
        }
        this.live.splice(this.live.indexOf(mapped), 1);
      },
    };
  }
}

describe.each(RAMS)('on $name', ({ make }) => {
  test('a file in one piece is a window on RAM, exactly as long as the file', () => {
    const shmem = mount({ ram: make(16 * 2 ** 20) });
    const file = shmem.memfdCreate('f');
    file.allocate(0, 4 * PAGE_SIZE); // in one go, so that they lie side by side
    file.truncate(3 * PAGE_SIZE + 5);
    file.pwrite(pattern(3 * PAGE_SIZE + 5), 0);
    using mapping = file.map();
    expect(mapping.bytes).toEqual(pattern(3 * PAGE_SIZE + 5));
    mapping.bytes[4097] = 0;
    file.pwrite(Uint8Array.of(0), 4099);
    expect(contents(file)[4097]).toBe(0);
    expect(mapping.bytes[4099]).toBe(0);
  });

  describe('what a view writes beyond the end of a file that shrank under it is not shown when that grows again', () => {
    const old = 4 * PAGE_SIZE - 10;
    const small = PAGE_SIZE + 100;
    const growths: [string, (file: ShmemFile) => void][] = [
      [
        'truncate',
        (file) => {
          file.truncate(old);
        },
      ],
      ['a write past the end', (file) => file.pwrite(Uint8Array.of(0), old - 1)],
      ['a write behind the last page', (file) => file.pwrite(Uint8Array.of(0), 2 * PAGE_SIZE)],
      [
        'allocate',
        (file) => {
          file.allocate(0, old);
        },
      ],
      [
        'two steps',
        (file) => {
          file.truncate(small + 5);
          file.truncate(old);
        },
      ],
      [
        'a byte, and then more',
        (file) => {
          file.pwrite(Uint8Array.of(0), small);
          file.truncate(old);
        },
      ],
    ];
    const unmapped = [
      ['while the view is there', false],
      ['after the view was unmapped', true],
    ] as const;
    const all = growths.flatMap(([name, grow]) =>
      unmapped.map(([when, isUnmapped]) => [`${name}, ${when}`, grow, isUnmapped] as const),
    );

    test.each(all)('%s', (_, grow, isUnmapped) => {
      const file = mount({ ram: make(16 * 2 ** 20) }).memfdCreate('f');
      file.allocate(0, old); // in one go, so that a view is a window on RAM
      const view = file.map();
      file.truncate(small);
      view.bytes.fill(0xee);
      if (isUnmapped) view.unmap();
      grow(file);
      view.unmap();
      expect(
        contents(file)
          .subarray(0, small)
          .every((byte) => byte === 0xee),
      ).toBe(true);
      expect(
        contents(file)
          .subarray(small)
          .every((byte) => byte === 0),
      ).toBe(true);
      // Once more, by a view of the smaller file.
      file.truncate(small);
      const again = file.map();
      file.truncate(50);
      again.bytes.fill(0xdd);
      again.unmap();
      grow(file);
      expect(
        contents(file)
          .subarray(50)
          .every((byte) => byte === 0),
      ).toBe(true);
    });
  });

  test('holes are given zeroed pages', () => {
    const shmem = mount({ ram: make(16 * 2 ** 20) });
    const file = shmem.memfdCreate('f');
    file.truncate(8 * PAGE_SIZE);
    using mapping = file.map();
    expect(mapping.bytes.every((byte) => byte === 0)).toBe(true);
    expect(shmem.used).toBe(8 * PAGE_SIZE);
  });

  test('an empty file is an empty view', () => {
    const file = mount({ ram: make(16 * 2 ** 20) }).memfdCreate('f');
    using mapping = file.map();
    expect(mapping.bytes.length).toBe(0);
  });

  test('scattered pages on a RAM that cannot map: EOPNOTSUPP, and the holes stay holes', () => {
    const shmem = mount({ ram: make(16 * 2 ** 20) });
    const file = shmem.memfdCreate('f');
    for (const page of [2, 1, 0]) file.pwrite(pattern(1), page * PAGE_SIZE);
    file.truncate(9 * PAGE_SIZE);
    const before = snapshot(shmem);
    expect(outcome(() => file.map())).toBe('EOPNOTSUPP');
    expect(snapshot(shmem)).toEqual(before);
    expect(layoutOf(file)).toEqual([0, 0, 0, -6]);
    file.close();
    expect(shmem.used).toBe(0);
  });
});

test('a piece that RAM cannot show as one: EOPNOTSUPP', () => {
  const file = mount({ ram: new SparseRam(16 * 2 ** 20) }).memfdCreate('f');
  file.allocate(0, 5 * 2 ** 20);
  expect(outcome(() => file.map())).toBe('EOPNOTSUPP');
});

test('scattered pages are mapped side by side where RAM can, and taken down with the last call', () => {
  const ram = new GatheringRam(2 ** 20);
  const shmem = mount({ ram });
  const file = shmem.memfdCreate('f');
  for (const page of [2, 1, 0]) file.pwrite(pattern(PAGE_SIZE, page), page * PAGE_SIZE);
  file.truncate(3 * PAGE_SIZE - 7);
  const mapping = file.map();
  expect(mapping.bytes).toEqual(contents(file));
  expect(ram.live).toHaveLength(1);
  mapping.bytes[PAGE_SIZE] = 200;
  mapping[Symbol.dispose]();
  expect(ram.live).toHaveLength(0);
  expect(contents(file)[PAGE_SIZE]).toBe(200);
  shmem.pages.assertConsistent();
});

describe('what a mapping shows stays, whatever becomes of the file', () => {
  test.each(['never', 'always'] as const)('huge pages: %s', (huge) => {
    const shmem = mount({ huge });
    const free = shmem.pages.freePages;
    const file = shmem.memfdCreate('f');
    const bytes = pattern(1024 * PAGE_SIZE);
    file.write(bytes);
    const first = file.map();
    file.truncate(700 * PAGE_SIZE + 1); // splits the second folio
    const second = file.map();
    file.truncate(3 * PAGE_SIZE); // splits the first
    expect(shmem.used).toBe(3 * PAGE_SIZE);
    const other = shmem.memfdCreate('other');
    other.allocate(0, 1024 * PAGE_SIZE); // must not get those pages
    expect(Buffer.compare(first.bytes.subarray(0, 700 * PAGE_SIZE), bytes.subarray(0, 700 * PAGE_SIZE))).toBe(
      0,
    );
    expect(second.bytes.length).toBe(700 * PAGE_SIZE + 1);
    shmem.pages.assertConsistent();
    other.close();
    file.close();
    first.unmap();
    shmem.pages.assertConsistent();
    second.unmap();
    shmem.pages.assertConsistent();
    expect([shmem.used, shmem.pages.freePages]).toEqual([0, free]);
  });
});
