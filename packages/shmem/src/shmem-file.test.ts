import { bytesOf, PAGE_SIZE, type Bytes } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import {
  MFD_ALLOW_SEALING,
  MFD_NOEXEC_SEAL,
  SEAL_ALL,
  SEAL_EXEC,
  SEAL_FUTURE_WRITE,
  SEAL_GROW,
  SEAL_SEAL,
  SEAL_SHRINK,
  SEAL_WRITE,
} from './seals.ts';
import type { ShmemFile } from './shmem-file.ts';
import { contents, mount, outcome, pattern, RAMS } from './test-mount.ts';

describe.each(RAMS)('on $name', ({ make }) => {
  const open = (): ShmemFile => mount({ ram: make(16 * 2 ** 20) }).memfdCreate('f', MFD_ALLOW_SEALING);

  test.each([
    ['nothing', 0, 0],
    ['a byte', 0, 1],
    ['a page less a byte', 0, PAGE_SIZE - 1],
    ['a page', 0, PAGE_SIZE],
    ['a page and a byte', 0, PAGE_SIZE + 1],
    ['across a page', PAGE_SIZE - 3, 7],
    ['across blocks of RAM', 5, 9 * 2 ** 20],
    ['far from the start', 5 * 2 ** 30 + 17, 3 * PAGE_SIZE],
  ])('writes and reads back %s', (_, position, length) => {
    const file = open();
    const bytes = pattern(length);
    expect(file.pwrite(bytes, position)).toBe(length);
    expect(file.size).toBe(length === 0 ? 0 : position + length);
    const margin = Math.min(position, 5000);
    const back = new Uint8Array(margin + length + 100).fill(0xee);
    expect(file.pread(back, position - margin)).toBe(length === 0 ? 0 : margin + length);
    if (length === 0) return;
    expect(back.subarray(0, margin).every((byte) => byte === 0)).toBe(true);
    expect(Buffer.compare(back.subarray(margin, margin + length), bytes)).toBe(0);
    expect(back.subarray(margin + length).every((byte) => byte === 0xee)).toBe(true);
    const pages = Math.ceil((position + length) / PAGE_SIZE) - Math.floor(position / PAGE_SIZE);
    expect(file.inode.shmem.used).toBe(pages * PAGE_SIZE);
  });

  describe('what has bytes is read and written as its bytes', () => {
    const length = 40;
    const shared = (): SharedArrayBuffer => new SharedArrayBuffer(length);
    const kinds: [string, () => Bytes][] = [
      ['Uint8Array', () => new Uint8Array(length)],
      ['Buffer', () => Buffer.alloc(length)],
      ['Uint8ClampedArray', () => new Uint8ClampedArray(length)],
      ['Uint16Array', () => new Uint16Array(length / 2)],
      ['Uint32Array', () => new Uint32Array(length / 4)],
      ['Float64Array', () => new Float64Array(length / 8)],
      ['BigUint64Array', () => new BigUint64Array(length / 8)],
      ['a part of an Int16Array', () => new Int16Array(100).subarray(5, 5 + length / 2)],
      ['DataView', () => new DataView(new ArrayBuffer(length + 9), 9)],
      ['ArrayBuffer', () => new ArrayBuffer(length)],
      ['SharedArrayBuffer', shared],
      ['Uint8Array over shared memory', () => new Uint8Array(shared())],
      ['Int32Array over shared memory', () => new Int32Array(shared())],
    ];

    test.each(kinds)('%s', (_, make) => {
      const file = open();
      const source = make();
      bytesOf(source).set(pattern(length));
      expect([file.write(source), file.writev([source, source]), file.pwrite(source, 200)]).toEqual([
        length,
        2 * length,
        length,
      ]);
      expect([...contents(file).subarray(0, length)]).toEqual([...pattern(length)]);
      expect(file.pwritev([source], 3 * length)).toBe(length);
      file.seek(0);
      const reads: ((target: Bytes) => number)[] = [
        (target) => file.read(target),
        (target) => file.readv([target]),
        (target) => file.pread(target, 200),
        (target) => file.preadv([target], 3 * length),
      ];
      for (const read of reads) {
        const target = make();
        expect(read(target)).toBe(length);
        expect([...bytesOf(target)]).toEqual([...pattern(length)]);
      }
    });

    test('what has none, or none any more, is refused, and nothing is changed', () => {
      const file = open();
      file.write(pattern(10));
      const detached = new Uint32Array(4);
      detached.buffer.transfer();
      for (const given of [
        undefined,
        null,
        5,
        'text',
        [1, 2],
        {},
        new Blob(['x']),
        detached,
        detached.buffer,
      ]) {
        const bad = given as Bytes;
        const list = [new Uint8Array(1), bad];
        for (const call of [
          () => file.read(bad),
          () => file.write(bad),
          () => file.pread(bad, 0),
          () => file.pwrite(bad, 0),
          () => file.readv(list),
          () => file.writev(list),
          () => file.preadv(list, 0),
          () => file.pwritev(list, 0),
          () => file.writev(bad as unknown as Bytes[]),
        ])
          expect(outcome(call)).toBe('EINVAL');
      }
      expect([file.position, file.size]).toEqual([10, 10]);
      expect(contents(file)).toEqual(pattern(10));
    });
  });

  test('the position moves with read, write and seek, and with nothing else', () => {
    const file = open();
    expect(file.write(pattern(10))).toBe(10);
    expect(file.position).toBe(10);
    file.pwrite(pattern(5), 100);
    file.pread(new Uint8Array(5), 0);
    file.truncate(7);
    expect(file.position).toBe(10);
    expect(file.read(new Uint8Array(5))).toBe(0); // past the end
    expect(file.seek(2)).toBe(2);
    expect(file.read(new Uint8Array(50))).toBe(5);
    expect(file.position).toBe(7);
    file.seek(20);
    file.write(Uint8Array.of(9));
    expect([...contents(file)]).toEqual([...pattern(10).subarray(0, 7), ...Array<number>(13).fill(0), 9]);
  });

  test('holes read as zeros and cost nothing, whatever was in the memory before', () => {
    const file = open();
    file.truncate(3 * 2 ** 20);
    const expected = new Uint8Array(3 * 2 ** 20);
    expect(Buffer.compare(contents(file), expected)).toBe(0);
    expect(file.inode.shmem.used).toBe(0);
    file.pwrite(Uint8Array.of(1), 2 ** 20 + 5);
    expected[2 ** 20 + 5] = 1;
    expect(file.inode.shmem.used).toBe(PAGE_SIZE);
    expect(Buffer.compare(contents(file), expected)).toBe(0);
    file.allocate(0, 3 * 2 ** 20);
    expect(Buffer.compare(contents(file), expected)).toBe(0);
    expect(file.inode.shmem.used).toBe(3 * 2 ** 20);
  });

  test('what truncate cut off is gone: growing again gives zeros', () => {
    const file = open();
    file.write(pattern(3 * PAGE_SIZE));
    for (const size of [2 * PAGE_SIZE + 1, 2 * PAGE_SIZE, PAGE_SIZE - 1, 1, 0]) {
      file.truncate(size);
      file.truncate(4 * PAGE_SIZE);
      const expected = new Uint8Array(4 * PAGE_SIZE);
      expected.set(pattern(3 * PAGE_SIZE).subarray(0, size));
      expect(Buffer.compare(contents(file), expected)).toBe(0);
      file.truncate(size);
      expect(file.inode.shmem.used).toBe(Math.ceil(size / PAGE_SIZE) * PAGE_SIZE);
    }
  });

  test('allocate grows the file, keeps what is there, and takes whole pages', () => {
    const file = open();
    file.write(pattern(10));
    file.allocate(PAGE_SIZE - 1, 2);
    expect([file.size, file.inode.shmem.used]).toEqual([PAGE_SIZE + 1, 2 * PAGE_SIZE]);
    expect(contents(file).subarray(0, 10)).toEqual(pattern(10));
    expect(
      contents(file)
        .subarray(10)
        .every((byte) => byte === 0),
    ).toBe(true);
    file.allocate(0, 5);
    expect(file.size).toBe(PAGE_SIZE + 1);
  });
});

describe('several arrays at once', () => {
  test('are read and written as if they were one', () => {
    const file = mount().memfdCreate('f');
    const bytes = pattern(2 * PAGE_SIZE);
    const parts = [bytes.subarray(0, 5000), new Uint8Array(0), bytes.subarray(5000)];
    expect(file.writev(parts)).toBe(bytes.length);
    expect(file.pwritev(parts, bytes.length)).toBe(bytes.length);
    expect([file.position, file.size]).toEqual([bytes.length, 2 * bytes.length]);
    const targets = [new Uint8Array(3), new Uint8Array(0), new Uint8Array(9000)];
    expect(file.preadv(targets, 0)).toBe(9003);
    expect(Buffer.concat(targets).equals(Buffer.concat([bytes, bytes]).subarray(0, 9003))).toBe(true);
    expect(file.readv(targets)).toBe(bytes.length);
    expect(file.position).toBe(2 * bytes.length);
    expect([file.readv(targets), file.writev([]), file.readv([])]).toEqual([0, 0, 0]);
  });

  test('go up to the last whole page of a file that may not grow, as on tmpfs', () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    file.truncate(2 * PAGE_SIZE + 100);
    file.addSeals(SEAL_GROW);
    const parts = [pattern(5000), pattern(5000, 2)];
    expect(file.writev(parts)).toBe(2 * PAGE_SIZE);
    expect([file.position, shmem.used]).toEqual([2 * PAGE_SIZE, 2 * PAGE_SIZE]);
    expect(outcome(() => file.writev(parts))).toBe('EPERM');
    expect(file.pwrite(pattern(500), 2 * PAGE_SIZE - 3)).toBe(3);
    const expected = Buffer.concat([...parts]).subarray(0, 2 * PAGE_SIZE - 3);
    expect(Buffer.compare(contents(file).subarray(0, 2 * PAGE_SIZE - 3), expected)).toBe(0);
  });

  test('beyond a limit nothing of them is written', () => {
    const shmem = mount({ memoryLimit: PAGE_SIZE });
    const file = shmem.memfdCreate('f');
    expect(outcome(() => file.writev([pattern(10), pattern(PAGE_SIZE)]))).toBe('ENOMEM');
    expect([file.size, file.position, shmem.used]).toEqual([0, 0, 0]);
  });
});

describe('several descriptions of one file', () => {
  test('share its bytes, size and seals, and have positions of their own', () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    file.write(pattern(100));
    const other = file.reopen();
    expect([other.position, other.size]).toEqual([0, 100]);
    other.write(Uint8Array.of(1, 2, 3));
    expect([file.position, other.position]).toEqual([100, 3]);
    expect([...contents(file).subarray(0, 3)]).toEqual([1, 2, 3]);
    other.addSeals(SEAL_GROW);
    expect(outcome(() => file.truncate(101))).toBe('EPERM');
    file.close();
    expect([other.size, shmem.used]).toEqual([100, PAGE_SIZE]);
    other.close();
    expect(shmem.used).toBe(0);
  });
});

describe('arguments', () => {
  const cases: [string, (file: ShmemFile) => unknown, string][] = [
    ['truncate below 0', (file) => file.truncate(-1), 'EINVAL'],
    ['truncate to half a byte', (file) => file.truncate(0.5), 'EINVAL'],
    ['truncate to NaN', (file) => file.truncate(Number.NaN), 'EINVAL'],
    ['truncate beyond 2^53', (file) => file.truncate(2 ** 53), 'EINVAL'],
    ['seek below 0', (file) => file.seek(-1), 'EINVAL'],
    ['seek to half a byte', (file) => file.seek(1.5), 'EINVAL'],
    ['read below 0', (file) => file.pread(new Uint8Array(1), -1), 'EINVAL'],
    ['read at NaN', (file) => file.pread(new Uint8Array(1), Number.NaN), 'EINVAL'],
    ['write below 0', (file) => file.pwrite(new Uint8Array(1), -1), 'EINVAL'],
    ['write at half a byte', (file) => file.pwrite(new Uint8Array(1), 0.5), 'EINVAL'],
    ['write beyond 2^53', (file) => file.pwrite(new Uint8Array(2), 2 ** 53 - 1), 'EFBIG'],
    ['allocate nothing', (file) => file.allocate(0, 0), 'EINVAL'],
    ['allocate below 0', (file) => file.allocate(-1, 5), 'EINVAL'],
    ['allocate half bytes', (file) => file.allocate(0.5, 0.5), 'EINVAL'],
    ['allocate beyond 2^53', (file) => file.allocate(1, 2 ** 53 - 1), 'EFBIG'],
    ['an unknown seal', (file) => file.addSeals(64), 'EINVAL'],
    ['a seal beyond 32 bits', (file) => file.addSeals(2 ** 32), 'EINVAL'],
    ['half a seal', (file) => file.addSeals(0.5), 'EINVAL'],
    ['no seal', (file) => file.addSeals(0), 'ok'],
  ];
  test.each(cases)('%s', (_, work, code) => {
    const file = mount().memfdCreate('f', MFD_ALLOW_SEALING);
    file.write(pattern(10));
    expect(outcome(() => work(file))).toBe(code);
    expect([file.size, file.seals, file.position, file.inode.shmem.used]).toEqual([10, 0, 10, PAGE_SIZE]);
  });
});

describe('references', () => {
  test('a closed description answers EBADF, to everything', () => {
    const file = mount().memfdCreate('f', MFD_ALLOW_SEALING);
    file.close();
    const calls: (() => unknown)[] = [
      () => file.read(new Uint8Array(1)),
      () => file.write(new Uint8Array(1)),
      () => file.pread(new Uint8Array(1), 0),
      () => file.pwrite(new Uint8Array(1), 0),
      () => file.seek(0),
      () => file.readv([]),
      () => file.writev([]),
      () => file.preadv([], 0),
      () => file.pwritev([], 0),
      () => file.fallocate(1, 0, 1),
      () => file.stat(),
      () => file.reopen(),
      () => file.truncate(0),
      () => file.allocate(0, 1),
      () => file.adviseHuge(),
      () => file.addSeals(SEAL_GROW),
      () => file.map(),
      () => file.get(),
      () => file.put(),
      () => file.close(),
    ];
    expect(calls.map(outcome)).toEqual(calls.map(() => 'EBADF'));
  });

  test('the last one frees the pages', () => {
    const shmem = mount();
    const free = shmem.pages.freePages;
    const file = shmem.memfdCreate('f');
    file.write(pattern(5 * PAGE_SIZE));
    file.get();
    file.close();
    expect([shmem.used, file.inode.isOpen]).toEqual([5 * PAGE_SIZE, true]);
    file.put();
    expect([shmem.used, file.inode.isOpen, shmem.pages.freePages]).toEqual([0, false, free]);
    shmem.pages.assertConsistent();
  });

  test.each(['unmapped first', 'closed first'])('a mapping keeps a file that is %s', (order) => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.allocate(0, 8 * PAGE_SIZE);
    const mapping = file.map();
    mapping.bytes.set(pattern(8 * PAGE_SIZE));
    if (order === 'closed first') file.close();
    else mapping.unmap();
    expect(shmem.used).toBe(8 * PAGE_SIZE);
    if (order === 'closed first') {
      expect(mapping.bytes).toEqual(pattern(8 * PAGE_SIZE));
      mapping.unmap();
    } else file.close();
    mapping.unmap(); // does nothing
    expect([shmem.used, file.inode.isOpen]).toEqual([0, false]);
    shmem.pages.assertConsistent();
  });
});

describe('seals', () => {
  const operations: Record<string, (file: ShmemFile) => unknown> = {
    overwrite: (file) => file.pwrite(pattern(5), 0),
    'write past the end': (file) => file.pwrite(pattern(5), 98),
    grow: (file) => file.truncate(101),
    shrink: (file) => file.truncate(99),
    'truncate to the same size': (file) => file.truncate(100),
    'allocate inside': (file) => file.allocate(0, 100),
    'allocate past the end': (file) => file.allocate(99, 2),
    map: (file) => file.map().unmap(),
    'add a seal': (file) => file.addSeals(SEAL_EXEC),
    read: (file) => file.pread(new Uint8Array(5), 0),
  };
  const refused: [string, number, string[]][] = [
    ['none', 0, []],
    ['SEAL_SEAL', SEAL_SEAL, ['add a seal']],
    ['SEAL_SHRINK', SEAL_SHRINK, ['shrink']],
    ['SEAL_GROW', SEAL_GROW, ['write past the end', 'grow', 'allocate past the end']],
    ['SEAL_WRITE', SEAL_WRITE, ['overwrite', 'write past the end', 'map']],
    ['SEAL_FUTURE_WRITE', SEAL_FUTURE_WRITE, ['overwrite', 'write past the end', 'map']],
    [
      'SEAL_EXEC',
      SEAL_EXEC,
      ['overwrite', 'write past the end', 'grow', 'shrink', 'allocate past the end', 'map'],
    ],
    [
      'all',
      SEAL_ALL,
      ['overwrite', 'write past the end', 'grow', 'shrink', 'allocate past the end', 'map', 'add a seal'],
    ],
  ];
  test.each(refused)('%s', (_, seals, expected) => {
    for (const [name, work] of Object.entries(operations)) {
      const file = mount().memfdCreate('f', MFD_ALLOW_SEALING);
      file.write(pattern(100));
      file.addSeals(seals);
      expect([name, outcome(() => work(file))]).toEqual([name, expected.includes(name) ? 'EPERM' : 'ok']);
    }
  });

  test('SEAL_WRITE waits for the last mapping, SEAL_FUTURE_WRITE leaves mappings alone', () => {
    const file = mount().memfdCreate('f', MFD_ALLOW_SEALING);
    file.write(pattern(100));
    const first = file.map();
    const second = file.map();
    expect(outcome(() => file.addSeals(SEAL_WRITE | SEAL_GROW))).toBe('EBUSY');
    expect(file.seals).toBe(0);
    first.unmap();
    first.unmap();
    expect(outcome(() => file.addSeals(SEAL_WRITE))).toBe('EBUSY');
    file.addSeals(SEAL_FUTURE_WRITE);
    second.bytes[0] = 77;
    expect(contents(file)[0]).toBe(77);
    second.unmap();
    file.addSeals(SEAL_WRITE);
    expect(file.seals).toBe(SEAL_WRITE | SEAL_FUTURE_WRITE);
  });

  test('SEAL_EXEC brings the others along unless the file is not executable', () => {
    const shmem = mount();
    const program = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    program.write(pattern(100));
    const mapping = program.map();
    expect(outcome(() => program.addSeals(SEAL_EXEC))).toBe('EBUSY');
    mapping.unmap();
    program.addSeals(SEAL_EXEC);
    expect(program.seals).toBe(SEAL_EXEC | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE);
    const data = shmem.memfdCreate('f', MFD_NOEXEC_SEAL);
    data.addSeals(SEAL_EXEC);
    expect(data.seals).toBe(SEAL_EXEC);
  });

  test('a file sealed against writing is mapped for reading; before it is, that counts as a writable mapping', () => {
    const file = mount().memfdCreate('f', MFD_ALLOW_SEALING);
    file.write(pattern(100));
    const early = file.map({ readOnly: true });
    expect(outcome(() => file.addSeals(SEAL_WRITE))).toBe('EBUSY');
    early.unmap();
    file.addSeals(SEAL_WRITE);
    expect(outcome(() => file.map())).toBe('EPERM');
    using view = file.map({ readOnly: true });
    expect(view.bytes).toEqual(pattern(100));
    file.addSeals(SEAL_WRITE); // again: a view for reading is not in the way
  });

  test('a file without MFD_ALLOW_SEALING takes none', () => {
    expect(outcome(() => mount().memfdCreate('f').addSeals(SEAL_GROW))).toBe('EPERM');
  });

  test('errors carry the number as Node has it', () => {
    const file = mount().memfdCreate('f');
    file.close();
    expect(() => file.seek(0)).toThrow(expect.objectContaining({ code: 'EBADF', errno: -9 }));
  });
});
