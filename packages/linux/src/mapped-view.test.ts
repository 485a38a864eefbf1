/**
 * A view belongs to its user: whatever is done with it ends it alone, and nobody keeps a page of
 * the file by its address.
 */
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { KernelError } from '@liveupdate/base';
import { viewSpace } from './address-ranges.ts';
import * as libc from './libc.ts';
import { MappedRam } from './mapped-ram.ts';
import { runChild } from './test-child.ts';
import { collectGarbage } from './test-garbage.ts';
import { codeOfThrown } from './test-thrown.ts';
import { countMaps, mappedAt, NOBODYS, viewAt } from './test-view.ts';

vi.mock('./libc.ts', async (original) => ({ ...(await original()) }));

const PAGE = 4096;
const HUGE = 2 ** 21;
let ram: MappedRam;

beforeEach(() => {
  ram = MappedRam.anonymous({ name: 'liveupdate-view-test', size: 64 * 2 ** 20 });
  onTestFinished(() => {
    vi.restoreAllMocks();
    ram.close();
  });
});

/** What the file has, whoever stored it. */
const inFile = (pa: number): number => ram.bytes(pa, 1)[0];

describe.each([PAGE, HUGE, 3 * HUGE + PAGE])('a view of %i bytes', (length) => {
  test('is a buffer of its own, with nothing before or behind it', () => {
    ram.bytes(HUGE - PAGE, length + 2 * PAGE).fill(0xee);
    const view = ram.view([{ pa: HUGE, length }], { size: length - 5, populate: true });
    view.bytes.fill(7);
    expect([view.bytes.byteOffset, view.bytes.length, view.bytes.buffer.byteLength]).toEqual([
      0,
      length - 5,
      length - 5,
    ]);
    expect(structuredClone(view.bytes).buffer.byteLength).toBe(length - 5);
    expect(Buffer.from(structuredClone(view.bytes).buffer).includes(0xee)).toBe(false);
    expect([inFile(HUGE - 1), inFile(HUGE + length - 6), inFile(HUGE + length - 5)]).toEqual([0xee, 7, 0xee]);
  });

  test('has length 0 when it was taken down, and its address is memory of nobody', () => {
    const view = viewAt(ram, HUGE, length);
    const [{ address }] = view.ranges;
    const late = new Uint8Array(libc.viewOf(address, length)); // as a thread of the pool has it
    view.bytes.fill(1);
    view.release();
    view.release();
    expect([view.bytes.length, view.bytes.buffer.byteLength]).toEqual([0, 0]);
    expect(() => view.bytes.fill(3)).not.toThrow();
    expect(mappedAt(address)).toMatch(NOBODYS);
    expect([late[0], late[length - 1]]).toEqual([0, 0]);
    late.fill(2);
    expect([inFile(HUGE), inFile(HUGE + length - 1)]).toEqual([1, 1]);
    expect(codeOfThrown(() => view.share(false))).toBe('EBADF');
  });

  test.each([
    ['transfer()', (bytes: Uint8Array<ArrayBuffer>) => bytes.buffer.transfer()],
    ['a transfer list', (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer] })],
    ['a BYOB read', byobRead],
    ['enqueue', enqueue],
  ] as [string, (bytes: Uint8Array<ArrayBuffer>) => ArrayBuffer | Promise<ArrayBuffer>][])(
    'that %s took away lives on for who has it, and never in memory of another',
    async (_, take) => {
      await collectGarbage(); // of tests before
      const view = viewAt(ram, HUGE, length);
      const before = viewSpace().retired;
      const [{ address }] = view.ranges;
      view.bytes[1] = 1;
      const taken = new Uint8Array(await take(view.bytes));
      expect(view.bytes.length).toBe(0);
      taken[2] = 2;
      view.release();
      await collectGarbage();
      // Nobody gets the range again, so what is stored late reaches nobody.
      expect(viewSpace().retired - before).toBeGreaterThanOrEqual(length);
      expect(mappedAt(address)).toMatch(NOBODYS);
      const next = viewAt(ram, 2 * HUGE, length);
      next.bytes.fill(4);
      taken.fill(5);
      expect(Buffer.from(next.bytes.buffer).includes(5)).toBe(false);
      expect(inFile(HUGE + 1)).toBe(1);
    },
  );

  test("moves to a worker in a transfer list, and is nobody's there once released", async () => {
    const view = viewAt(ram, HUGE, length);
    const source = `
      import { parentPort } from 'node:worker_threads';
      let bytes;
      parentPort.on('message', (given) => {
        if (given === 'end') return parentPort.close();
        bytes = given ?? bytes;
        const [first] = bytes;
        bytes[0] = 9; // before the answer, after which it may be nobody's
        parentPort.postMessage([bytes.length, first]);
      });
    `;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
    const ask = async (given: unknown, transfer: ArrayBuffer[] = []): Promise<unknown> => {
      worker.postMessage(given, transfer);
      return (await once(worker, 'message'))[0] as unknown;
    };
    view.bytes[0] = 3;
    expect(await ask(view.bytes, [view.bytes.buffer])).toEqual([length, 3]);
    expect([view.bytes.length, inFile(HUGE)]).toEqual([0, 9]); // the bytes of the file still
    expect(await ask(undefined)).toEqual([length, 9]);
    view.release();
    expect(await ask(undefined)).toEqual([length, 0]);
    expect(await ask(undefined)).toEqual([length, 9]);
    expect(inFile(HUGE)).toBe(9);
    worker.postMessage('end');
    await once(worker, 'exit');
    await collectGarbage();
  });

  test('is given back when it was collected, and not where it was shared', async () => {
    await collectGarbage(); // of tests before
    const [kept, shared] = ((): [bigint, bigint] => {
      const views = [viewAt(ram, HUGE, length), viewAt(ram, HUGE, length)];
      views[1].share(false);
      views[1].share(true);
      const addresses = views.map(({ ranges }) => ranges[0].address);
      for (const view of views) view.release();
      return [addresses[0], addresses[1]];
    })();
    const before = viewSpace().retired;
    await collectGarbage();
    expect(before - viewSpace().retired).toBeGreaterThanOrEqual(length);
    expect(mappedAt(shared)).toMatch(NOBODYS);
    if (length >= HUGE) expect(mappedAt(kept)).toBeUndefined();
  });

  test('that cannot be mapped leaves nothing', () => {
    const { mmap, madvise } = libc;
    const before = { ...viewSpace(), ofFiles: countMaps(/liveupdate-view-test/) };
    const maps = countMaps();
    const addresses: bigint[] = [];
    const pieces = [0, 1, 2].map((i) => ({ pa: i * 2 * length, length }));
    const options = { size: 3 * length, populate: true };
    const make = (): string => codeOfThrown(() => ram.view(pieces, options));
    for (const fails of [1, 2, 3]) {
      let calls = 0;
      const spy = vi.spyOn(libc, 'mmap').mockImplementation((...args) => {
        if (args[4] >= 0 && ++calls === fails) throw new KernelError('ENOMEM', 'no more mappings');
        const address = mmap(...args);
        addresses.push(address);
        return address;
      });
      expect(make()).toBe('ENOMEM');
      spy.mockRestore();
    }
    const spy = vi.spyOn(libc, 'madvise').mockImplementation((...args) => {
      if (args[2] === libc.MADV_POPULATE_READ) throw new KernelError('EFAULT', 'no memory');
      madvise(...args);
    });
    expect(make()).toBe('ENOSPC');
    spy.mockRestore();
    expect({ ...viewSpace(), ofFiles: countMaps(/liveupdate-view-test/) }).toEqual(before);
    expect(countMaps() - maps).toBeLessThan(4); // one for each failure; V8's own heap may grow
    expect(addresses.length).toBeGreaterThan(3);
    // Neither a piece of the file nor what was reserved for it.
    for (const address of addresses)
      expect(mappedAt(address) ?? '').not.toMatch(/liveupdate-view-test|^---p 0+ /);
    ram.view(pieces, options).release();
  });
});

/** A source of bytes that fills what a reader gives it, and hands the same memory back. */
async function byobRead(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new ReadableStream({
    type: 'bytes',
    pull(controller) {
      const request = controller.byobRequest;
      const target = request?.view as Uint8Array<ArrayBuffer>;
      request?.respond(target.length);
    },
  });
  const { value } = await stream.getReader({ mode: 'byob' }).read(bytes);
  return value?.buffer ?? new ArrayBuffer(0);
}

/** A stream takes the chunks that it is given. */
async function enqueue(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new ReadableStream({
    type: 'bytes',
    start(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  });
  const { value } = (await stream.getReader().read()) as { value: Uint8Array<ArrayBuffer> };
  return value.buffer;
}

test('a view whose bytes its user changed is taken down like any', () => {
  const [frozen, dressed, taken] = [0, 1, 2].map((i) => viewAt(ram, i * PAGE, PAGE));
  Object.preventExtensions(frozen.bytes);
  Object.defineProperty(dressed.bytes, 'buffer', { value: new ArrayBuffer(1) });
  taken.bytes.buffer.transfer();
  expect(taken.share(false).length).toBe(PAGE); // the file is there, whoever has that buffer
  const addresses = [frozen, dressed, taken].map(({ ranges }) => ranges[0].address);
  for (const view of [frozen, dressed, taken]) view.release();
  expect([frozen, dressed].map(({ bytes }) => bytes.length)).toEqual([0, 0]);
  for (const address of addresses) expect(mappedAt(address)).toMatch(NOBODYS);
});

test('populate brings in what is there, and ends with EBADF where the view is taken down meanwhile', async () => {
  const view = viewAt(ram, 0, 40 * 2 ** 20);
  const whole = viewAt(ram, 0, 40 * 2 ** 20);
  const populated = view.populate();
  view.release();
  await expect(populated).rejects.toMatchObject({ code: 'EBADF' });
  await whole.populate();
  expect(ram.allocated()).toBe(40 * 2 ** 20);
});

test('of many views mapped and unmapped in one turn few mappings are left, whatever their size', () => {
  const { stdout, stderr } = runChild(`
    import { MappedRam } from './src/mapped-ram.ts';
    import { countMaps, viewAt } from './src/test-view.ts';
    const ram = MappedRam.anonymous({ name: 'many', size: 2 ** 23 });
    const before = countMaps();
    for (let i = 0; i < 100_000; i++) {
      const view = viewAt(ram, 0, i % 100 ? 4096 : 2 ** 21);
      view.bytes[0] += 1;
      view.release();
    }
    console.log(countMaps() - before < 5000, ram.bytes(0, 1)[0] === 100_000 % 256);`);
  expect([stdout.trim(), stderr]).toEqual(['true true', '']);
});

test('more views at once than the system has mappings are a clear ENOMEM, and all goes on', (context) => {
  const { mostMappings } = viewSpace();
  if (mostMappings > 150_000) context.skip(`there may be ${mostMappings} mappings here`);
  const { stdout, stderr } = runChild(`
    import { viewSpace } from './src/address-ranges.ts';
    import { MappedRam } from './src/mapped-ram.ts';
    import { viewAt } from './src/test-view.ts';
    import { collectGarbage } from './src/test-garbage.ts';
    const ram = MappedRam.anonymous({ name: 'many', size: 2 ** 23 });
    const make = () => {
      const views = [];
      let failure = {};
      try { for (let i = 0; i < 100_000; i++) views.push(viewAt(ram, 4096 * (i % 100), i % 100 ? 4096 : 2 ** 21)); }
      catch (error) { failure = error; }
      return { views, failure };
    };
    for (let round = 0; round < 2; round++) {
      const { views, failure } = make();
      console.log(failure.code, /vm.max_map_count/.test(failure.message), views.length > 20_000);
      views.at(-1).bytes[0] = 7;
      for (const view of views) view.release();
      console.log(viewSpace().mappings);
    }
    await collectGarbage();
    viewAt(ram, 0, 2 ** 21).bytes[0] = 1;
    ram.close();
    console.log('alive');`);
  const round = 'ENOMEM true true\n0\n';
  expect([stdout, stderr]).toEqual([`${round}${round}alive\n`, '']);
});

describe('threads of the pool at work', () => {
  /** All that the pool does with bytes that it is given; each settles somehow. */
  const WORK = `
    import fs from 'node:fs';
    import { promisify } from 'node:util';
    import zlib from 'node:zlib';
    import crypto from 'node:crypto';
    import { MappedRam } from './src/mapped-ram.ts';
    import { viewAt } from './src/test-view.ts';
    import { collectGarbage } from './src/test-garbage.ts';
    const zeros = fs.openSync('/dev/zero', 'r'), nowhere = fs.openSync('/dev/null', 'w');
    const file = await fs.promises.open('/dev/null', 'w');
    const out = { chunkSize: 2 ** 22 };
    const gzipped = zlib.gzipSync(crypto.randomBytes(2 ** 20));
    const WORK = [
      (b) => promisify(zlib.gzip)(b, out),
      (b) => promisify(zlib.brotliCompress)(b, { ...out, params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } }),
      (b) => { b.set(gzipped); return promisify(zlib.gunzip)(b, out); },
      (b) => promisify(crypto.randomFill)(b),
      (b) => promisify(crypto.scrypt)(b, b, 64, { N: 1024 }),
      (b) => promisify(crypto.pbkdf2)(b, b, 10, 64, 'sha256'),
      (b) => promisify(fs.read)(zeros, b, 0, b.length, null),
      (b) => promisify(fs.write)(nowhere, b),
      (b) => promisify(fs.readv)(zeros, [b, b]),
      (b) => file.writeFile(b),
      (b) => crypto.subtle.digest('SHA-256', b),
    ];
    let settled = 0;
    for (let round = 0; round < 33; round++) {
      const ram = MappedRam.anonymous({ name: 'pool', size: 2 ** 24 });
      const work = (bytes) => WORK[round % WORK.length](bytes).then(() => {}, () => {}).then(() => { settled += 1; });
      const [work1, end] = start(ram, work);
      await new Promise((resolve) => (round % 2 ? setImmediate(resolve) : setTimeout(resolve, 2)));
      end();
      if (round % 3 === 0) await collectGarbage();
      await Promise.all(work1);
      ram.close();
    }
    console.log(settled);`;

  test.each([
    [
      'on a view that is released: the process lives',
      `const views = [0, 1].map((i) => viewAt(ram, i * 2 ** 22, 2 ** 22));
       return [views.map(({ bytes }) => work(bytes)), () => { for (const view of views) view.release(); }];`,
    ],
    [
      'on views of a RAM that is closed: the process lives',
      `const views = [0, 1].map((i) => viewAt(ram, i * 2 ** 22, 2 ** 22));
       return [views.map(({ bytes }) => work(bytes)), () => { ram.close(); }];`,
    ],
    [
      'on windows of a RAM that is closed: the process lives',
      `return [[0, 1].map((i) => work(ram.bytes(i * 2 ** 22, 2 ** 22))), () => { ram.close(); }];`,
    ],
  ])('%s', (_, start) => {
    const { stdout, stderr, signal } = runChild(`${WORK}
      function start(ram, work) { ${start} }`);
    expect([signal, stderr, stdout.trim()]).toEqual([null, '', '66']);
  });
});

test('a stream that goes on with a file of its own gets all of what a view had before it was taken down', async () => {
  const view = viewAt(ram, 0, PAGE);
  view.bytes.fill(65);
  await using file = await open('/dev/null', 'w');
  const written = file.write(view.bytes);
  expect((await written).bytesWritten).toBe(PAGE);
  view.release();
  expect((await file.write(view.bytes)).bytesWritten).toBe(0); // late, and no failure
});
