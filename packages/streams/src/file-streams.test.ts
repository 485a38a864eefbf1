import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { codeOf, PAGE_SIZE } from '@liveupdate/base';
import { HeapRam, PageAllocator, PageTable } from '@liveupdate/mm';
import { MFD_ALLOW_SEALING, SEAL_GROW, Shmem, type ShmemOptions } from '@liveupdate/shmem';
import { describe, expect, test } from 'vitest';
import { createReadStream, createWriteStream } from './file-streams.ts';

function mount(options: Omit<ShmemOptions, 'pages'> = {}): Shmem {
  const ram = new HeapRam(16 * 2 ** 20);
  const table = new PageTable(ram.size);
  table.reserve(0, 1);
  return new Shmem({ ...options, pages: new PageAllocator(ram, table) });
}

function bytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) % 251));
}

async function outcome(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    return codeOf(error);
  }
}

describe('reading', () => {
  test.each([
    ['nothing', 0, {}],
    ['a byte', 1, {}],
    ['many chunks', 5 * PAGE_SIZE + 3, { highWaterMark: 1000 }],
    ['one chunk', 3 * 2 ** 20 + 1, {}],
    ['a part', 10_000, { start: 100, end: 9000 }],
    ['to the end, and not beyond', 10_000, { start: 9999, end: 20_000 }],
    ['from beyond the end', 100, { start: 101 }],
    ['one byte in the midst', 100, { start: 50, end: 50 }],
  ])('%s', async (_, length, options: { start?: number; end?: number; highWaterMark?: number }) => {
    const file = mount().memfdCreate('f');
    file.write(bytes(length));
    const read = await buffer(createReadStream(file, options));
    const { start = 0, end = length } = options;
    expect(read.equals(bytes(length).subarray(start, end + 1))).toBe(true);
    expect(file.position).toBe(length); // as writing left it
  });

  test('holes are zeros', async () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.truncate(2 ** 20);
    file.pwrite(Uint8Array.of(7), 2 ** 19);
    const read = await buffer(createReadStream(file));
    expect([read.length, read.indexOf(7), read.lastIndexOf(7), read.indexOf(0)]).toEqual([
      2 ** 20,
      2 ** 19,
      2 ** 19,
      0,
    ]);
    expect(shmem.used).toBe(PAGE_SIZE);
  });

  test('what is appended meanwhile is read too', async () => {
    const file = mount().memfdCreate('f');
    file.write(bytes(3000));
    let appended = false;
    const seen: Buffer[] = [];
    for await (const chunk of createReadStream(file, { highWaterMark: 1000 })) {
      seen.push(chunk as Buffer);
      if (!appended) file.write(bytes(500));
      appended = true;
    }
    expect(Buffer.concat(seen).equals(Buffer.concat([bytes(3000), bytes(500)]))).toBe(true);
  });
});

describe('writing', () => {
  test('grows the file, and leaves its position and what is not written over', async () => {
    const file = mount().memfdCreate('f');
    file.write(bytes(10));
    await pipeline(Readable.from([bytes(3000), bytes(5000)]), createWriteStream(file, { start: 5 }));
    const expected = Buffer.concat([bytes(10).subarray(0, 5), bytes(3000), bytes(5000)]);
    expect((await buffer(createReadStream(file))).equals(expected)).toBe(true);
    expect(file.position).toBe(10);
  });

  test('through compression and back, from one file to another', async () => {
    const shmem = mount();
    const [from, to] = [shmem.memfdCreate('from'), shmem.memfdCreate('to')];
    from.write(bytes(2 ** 20 + 17));
    await pipeline(createReadStream(from), createGzip(), createGunzip(), createWriteStream(to));
    const hash = async (file: typeof from): Promise<string> =>
      createHash('sha256')
        .update(await buffer(createReadStream(file)))
        .digest('hex');
    expect(await hash(to)).toBe(await hash(from));
  });

  test.each([
    ['a limit', 'ENOSPC', { blockLimit: 4 * PAGE_SIZE }, 0],
    ['a seal', 'EPERM', {}, SEAL_GROW],
  ] as const)(
    '%s in the way is its error; what was written before stays',
    async (_, code, options, seals) => {
      const shmem = mount(options);
      const file = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
      if (seals !== 0) file.truncate(4 * PAGE_SIZE);
      file.addSeals(seals);
      const chunks = Array.from({ length: 6 }, () => bytes(PAGE_SIZE));
      expect(await outcome(() => pipeline(Readable.from(chunks), createWriteStream(file)))).toBe(code);
      expect(shmem.used).toBe(4 * PAGE_SIZE);
      file.close();
      expect(shmem.used).toBe(0);
    },
  );
});

describe('the file', () => {
  test('is held by a stream, and freed when that ends', async () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.write(bytes(3 * PAGE_SIZE));
    const stream = createReadStream(file, { highWaterMark: 1000 });
    file.close();
    expect(shmem.used).toBe(3 * PAGE_SIZE);
    expect((await buffer(stream)).equals(bytes(3 * PAGE_SIZE))).toBe(true);
    expect(shmem.used).toBe(0);
  });

  test('is freed when a stream is destroyed halfway', async () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.write(bytes(PAGE_SIZE));
    for (const stream of [createReadStream(file), createWriteStream(file)] as const) {
      const closed = new Promise((resolve) => stream.once('close', resolve));
      stream.destroy();
      await closed;
    }
    file.close();
    expect(shmem.used).toBe(0);
  });

  test('that is closed, and positions that are none, are refused at once', () => {
    const file = mount().memfdCreate('f');
    for (const start of [-1, 0.5, 2 ** 53]) {
      expect(() => createReadStream(file, { start })).toThrow('EINVAL');
      expect(() => createReadStream(file, { end: start })).toThrow('EINVAL');
      expect(() => createWriteStream(file, { start })).toThrow('EINVAL');
    }
    file.close();
    expect(() => createReadStream(file)).toThrow('EBADF');
    expect(() => createWriteStream(file)).toThrow('EBADF');
  });
});
