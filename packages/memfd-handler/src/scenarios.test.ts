/**
 * What programs do with sessions of memfds, each scenario through the TypeScript API and through
 * the device.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import type { ShmemFile } from '@liveupdate/shmem';
import { describe, expect, test } from 'vitest';
import { FRONTS, type Front, type FrontSession, type MakeFront } from './test-front.ts';
import {
  coldKernel,
  contents,
  METADATA,
  nextKernel,
  outcome,
  pattern,
  type TestKernel,
} from './test-kernel.ts';

/** A kernel, and a process on it. */
class World {
  kernel: TestKernel;
  front: Front;
  readonly #make: MakeFront;

  constructor(make: MakeFront, size?: number) {
    this.#make = make;
    this.kernel = coldKernel({}, size);
    this.front = make(this.kernel);
  }

  /** A memfd of `pages` pages that follow from `seed`. */
  memfd(pages = 1, seed = pages): ShmemFile {
    const file = this.kernel.shmem.memfdCreate(`of ${pages} pages`);
    if (pages > 0) file.write(pattern(pages * PAGE_SIZE, seed));
    return file;
  }

  /** The next kernel, and the next process. */
  async handOver(): Promise<void> {
    await this.kernel.luo.reboot();
    this.kernel = nextKernel(this.kernel);
    this.front = this.#make(this.kernel);
  }

  get sessions(): string[] {
    return this.kernel.luo.incomingSessions.map(({ name }) => name);
  }

  /** The next handover, after which nothing of what was before is left. */
  async expectNothingLeft(freePages: number): Promise<void> {
    await this.handOver();
    expect(this.kernel.luo.incomingSessions).toEqual([]);
    this.kernel.kho.pages.assertConsistent();
    expect(this.kernel.kho.pages.freePages).toBe(freePages - METADATA);
  }
}

async function expectFile(
  session: FrontSession,
  token: number,
  pages: number,
  seed = pages,
): Promise<ShmemFile> {
  const file = await session.retrieve(token);
  expect(file.size).toBe(pages * PAGE_SIZE);
  expect(Buffer.compare(contents(file), pattern(pages * PAGE_SIZE, seed))).toBe(0);
  return file;
}

describe.each(FRONTS)('through %s', (name, make) => {
  const throughDevice = name === 'the device';

  test('open and close', async () => {
    const world = new World(make);
    const { freePages } = world.kernel.kho.pages;
    const session = await world.front.create('s');
    expect(await session.name()).toBe('s');
    await session.close();
    await world.front.close();
    world.front.openAgain(); // it is free again
    expect(world.kernel.luo.outgoingSessions).toEqual([]);
    expect(world.kernel.kho.pages.freePages).toBe(freePages);
  });

  test('opened twice: the device is exclusive, the API is shared by all that have it', async () => {
    const { kernel, front } = new World(make);
    expect(await outcome(() => front.openAgain())).toBe(throughDevice ? 'EBUSY' : 'ok');
    await front.create('seen by all');
    expect(await outcome(() => kernel.luo.createSession('seen by all'))).toBe('EEXIST');
  });

  test('sessions of one name, and of two', async () => {
    const { front, kernel } = new World(make);
    const session = await front.create('s');
    expect(await outcome(() => front.create('s'))).toBe('EEXIST');
    await front.create('t');
    await session.close();
    await front.create('s');
    expect(kernel.luo.outgoingSessions.map((each) => each.name)).toEqual(['t', 's']);
  });

  const names: [string, string, string][] = [
    ['empty', '', 'EINVAL'],
    ['of 63 bytes', 'x'.repeat(63), 'ok'],
    ['of 64 bytes, without a NUL', 'x'.repeat(64), 'EINVAL'],
  ];
  test.each(names)('a name that is %s', async (_, name, code) => {
    const { front } = new World(make);
    expect(await outcome(() => front.create(name))).toBe(code);
    // The device looks for whatever it is given, as Linux does.
    const missing = code === 'ok' || throughDevice ? 'ENOENT' : code;
    expect(await outcome(() => front.retrieveSession(name))).toBe(missing);
    if (code === 'ok') expect(await outcome(() => front.create(name))).toBe('EEXIST');
  });

  test('one memfd', async () => {
    const world = new World(make);
    const { freePages } = world.kernel.kho.pages;
    await (await world.front.create('s')).preserve(world.memfd(3), 1);
    await world.handOver();
    const session = await world.front.retrieveSession('s');
    expect(await session.name()).toBe('s');
    await expectFile(session, 1, 3);
    await session.finish();
    await world.expectNothingLeft(freePages);
  });

  test('several, empty ones and full ones, in several sessions, empty ones among them', async () => {
    const world = new World(make);
    const { freePages } = world.kernel.kho.pages;
    for (const name of ['a', 'none', 'b', 'c']) {
      const session = await world.front.create(name);
      for (let token = 0; name !== 'none' && token < 9; token++)
        await session.preserve(world.memfd(token % 3, token + 1), token);
    }
    await world.handOver();
    expect(world.sessions).toEqual(['a', 'none', 'b', 'c']);
    for (const name of ['c', 'none', 'a', 'b']) {
      const session = await world.front.retrieveSession(name);
      if (name === 'none') expect(await outcome(() => session.retrieve(0))).toBe('ENOENT');
      else for (let token = 0; token < 9; token++) await expectFile(session, token, token % 3, token + 1);
      await session.finish();
    }
    await world.expectNothingLeft(freePages);
  });

  test('a file that nobody takes', async () => {
    const { front } = new World(make);
    expect(await outcome(async () => (await front.create('s')).preserve({}, 1))).toBe('ENOENT');
  });

  test('the same file twice, in one session and in two, through another description too', async () => {
    const world = new World(make);
    const [a, b] = [await world.front.create('a'), await world.front.create('b')];
    const file = world.memfd();
    await a.preserve(file, 1);
    expect(await outcome(() => a.preserve(file, 1))).toBe('EEXIST');
    for (const session of [a, b]) expect(await outcome(() => session.preserve(file, 2))).toBe('EBUSY');
    await a.close();
    await b.preserve(file, 2);
    await world.handOver();
    expect(world.sessions).toEqual(['b']);
    await expectFile(await world.front.retrieveSession('b'), 2, 1);
  });

  test('500 files in a session', async () => {
    const world = new World(make);
    const { freePages } = world.kernel.kho.pages;
    const session = await world.front.create('s');
    for (let token = 0; token < 500; token++) await session.preserve(world.memfd(1, token + 1), token);
    await world.handOver();
    const incoming = await world.front.retrieveSession('s');
    for (let token = 499; token >= 0; token -= 7) await expectFile(incoming, token, 1, token + 1);
    await incoming.finish();
    await world.expectNothingLeft(freePages);
  });

  test('2,000 sessions', async () => {
    const world = new World(make, 48 * 2 ** 20);
    const { freePages } = world.kernel.kho.pages;
    const numbers = Array.from({ length: 2000 }, (_, i) => i);
    for (const i of numbers) {
      const session = await world.front.create(`session ${i}`);
      if (i % 100 === 0) await session.preserve(world.memfd(1, i + 1), i);
    }
    expect(await outcome(() => world.front.create('session 1999'))).toBe('EEXIST');
    await world.handOver();
    expect(world.sessions).toEqual(numbers.map((i) => `session ${i}`));
    for (const i of numbers) {
      const session = await world.front.retrieveSession(`session ${i}`);
      if (i % 100 === 0) await expectFile(session, i, 1, i + 1);
      await session.finish();
    }
    await world.expectNothingLeft(freePages);
  });

  test('finished without retrieving', async () => {
    const world = new World(make);
    const { freePages } = world.kernel.kho.pages;
    const session = await world.front.create('s');
    for (let token = 0; token < 5; token++) await session.preserve(world.memfd(token), token);
    await world.handOver();
    const incoming = await world.front.retrieveSession('s');
    await incoming.finish();
    // A descriptor of Linux goes on as that of an empty session.
    expect(await outcome(() => incoming.retrieve(1))).toBe(throughDevice ? 'ENOENT' : 'EINVAL');
    await world.expectNothingLeft(freePages);
  });

  test('retrieved twice: the session is not, a file is the same', async () => {
    const world = new World(make);
    await (await world.front.create('s')).preserve(world.memfd(2), 1);
    await world.handOver();
    const session = await world.front.retrieveSession('s');
    expect(await outcome(() => world.front.retrieveSession('s'))).toBe('EINVAL');
    const file = await expectFile(session, 1, 2);
    expect(await session.retrieve(1)).toBe(file);
    expect(await outcome(() => session.retrieve(2))).toBe('ENOENT');
  });

  test('retrieved out of order', async () => {
    const world = new World(make);
    const session = await world.front.create('s');
    const tokens = [5, 0, 2 ** 40, 3, 77];
    for (const [i, token] of tokens.entries()) await session.preserve(world.memfd(i), token);
    await world.handOver();
    const incoming = await world.front.retrieveSession('s');
    for (const i of [3, 0, 4, 2, 1]) await expectFile(incoming, tokens[i], i);
    await incoming.finish();
  });

  test('a session that is closed without finish is finished by that', async () => {
    const world = new World(make);
    const { freePages } = world.kernel.kho.pages;
    const session = await world.front.create('s');
    for (let token = 0; token < 4; token++) await session.preserve(world.memfd(token), token);
    await world.handOver();
    const incoming = await world.front.retrieveSession('s');
    const file = await expectFile(incoming, 3, 3);
    await incoming.close();
    expect(world.sessions).toEqual([]);
    expect(Buffer.compare(contents(file), pattern(3 * PAGE_SIZE, 3))).toBe(0); // it is its user's own now
    expect(await outcome(() => world.front.retrieveSession('s'))).toBe('ENOENT');
    await world.expectNothingLeft(freePages);
  });

  test('a process that ends takes its outgoing sessions along', async () => {
    const world = new World(make);
    const session = await world.front.create('s');
    await session.preserve(world.memfd(), 1);
    await world.front.close();
    await world.handOver();
    expect(world.sessions).toEqual(throughDevice ? [] : ['s']); // the API has no process: a session is there until it is closed
  });

  test('two handovers in a row with the same names; what nobody retrieves is dropped by the second', async () => {
    const world = new World(make);
    const { freePages } = world.kernel.kho.pages;
    for (const name of ['kept', 'left'])
      await (await world.front.create(name)).preserve(world.memfd(2, name.charCodeAt(0)), 1);
    for (let round = 0; round < 3; round++) {
      await world.handOver();
      expect(world.sessions).toEqual(round === 0 ? ['kept', 'left'] : ['kept']);
      const incoming = await world.front.retrieveSession('kept');
      const outgoing = await world.front.create('kept'); // the name is free on this side
      const file = await expectFile(incoming, 1, 2, 'k'.charCodeAt(0));
      if (throughDevice) {
        // Linux takes it when it is its user's own.
        expect(await outcome(() => outgoing.preserve(file, 1))).toBe('EBUSY');
        await incoming.finish();
        await outgoing.preserve(file, 1);
      } else {
        await outgoing.preserve(file, 1); // no moment without it
        await incoming.finish();
      }
    }
    await (await world.front.create('last')).close();
    for (const session of world.kernel.luo.outgoingSessions) await session.close();
    await world.expectNothingLeft(freePages);
  });

  test('during and after the handover nothing is created, changed, retrieved or closed', async () => {
    const world = new World(make);
    for (const name of ['a', 'b']) await (await world.front.create(name)).preserve(world.memfd(), 1);
    await world.handOver();
    const { front, kernel } = world;
    const [incoming, outgoing] = [await front.retrieveSession('a'), await front.create('out')];
    await kernel.luo.reboot();
    const attempts: (() => Promise<unknown>)[] = [
      () => front.create('t'),
      () => front.retrieveSession('b'),
      () => outgoing.preserve(world.memfd(), 1),
      () => incoming.retrieve(1),
      () => incoming.finish(),
    ];
    for (const attempt of attempts) expect(await outcome(attempt)).toBe('EBUSY');
    // A descriptor is closed whatever happens: what follows of it waits until the handover is
    // called off.
    const closed = name === 'the device' ? 'ok' : 'EBUSY';
    for (const session of [outgoing, incoming]) expect(await outcome(() => session.close())).toBe(closed);
    expect(kernel.luo.outgoingSessions.map((each) => each.name)).toEqual(['out']);
    expect(world.sessions).toEqual(['a', 'b']);
  });
});
