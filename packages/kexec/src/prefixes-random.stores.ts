/**
 * Random sequences of operations over generations that hand over or die, against a naive model:
 * after every operation the next owner finds what the model has, and after every single store what
 * it had before or has after. Run again what failed with LIVEUPDATE_SEED.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import type { IncomingSession, OutgoingSession } from '@liveupdate/luo-core';
import { MFD_ALLOW_SEALING, ShmemFile } from '@liveupdate/shmem';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Generation } from './generation.ts';
import { bootNext, contentOf, find, handOver, TestRam } from './test-generations.ts';
import { everyPrefix } from './test-prefixes.ts';

const PREFIXES = isQuick ? 1000 : process.env.LIVEUPDATE_LONG === undefined ? 20_000 : 200_000;
const SIZE = 128 * PAGE_SIZE;
const NAMES = ['s', 't', 'u'];
const MOST_FILES = 14;

interface ModelFile {
  readonly file: ShmemFile | undefined;
  readonly content: string;
}

interface ModelSession {
  readonly name: string;
  readonly files: Map<number, ModelFile>;
  /** Of this generation, or of one before. */
  readonly own: OutgoingSession | undefined;
  readonly came: IncomingSession | undefined;
}

class Sequence {
  readonly ram = new TestRam(SIZE);
  #machine: Generation = bootNext(this.ram);
  #sessions: ModelSession[] = [];
  #made = 0;
  prefixes = 0;

  /** What a next owner must find. */
  get expected(): string {
    return this.#sessions
      .map(({ name, files }) => {
        const sorted = [...files].map(([token, { content }]) => `${token}=${content}`);
        return `${name}: ${sorted.join(', ')}`;
      })
      .sort()
      .join('; ');
  }

  get #own(): ModelSession[] {
    return this.#sessions.filter(({ own }) => own);
  }

  get #came(): ModelSession[] {
    return this.#sessions.filter(({ came }) => came);
  }

  #newFile(number: number): ShmemFile {
    const file = this.#machine.kernel.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    this.#made += 1;
    file.write(new Uint8Array(((number % 3) + 1) * PAGE_SIZE).fill(this.#made));
    return file;
  }

  /** Runs an operation, and looks at memory after every store of it. */
  async #watch(operation: () => void | Promise<void>): Promise<void> {
    this.prefixes += await everyPrefix({ ram: this.ram, operation });
    expect(await find(TestRam.of(this.ram.memory8))).toBe(this.expected);
    this.#machine.kernel.pages.assertConsistent();
  }

  async step(what: number, number: number): Promise<void> {
    const own = this.#own.at(number % Math.max(1, this.#own.length));
    const came = this.#came.at(number % Math.max(1, this.#came.length));
    switch (what) {
      case 0:
        return this.#create(NAMES[number % NAMES.length]);
      case 1:
      case 2:
        return own && this.#preserve(own, number);
      case 3:
        return own && this.#preserveAll(own, number);
      case 4:
        return own && this.#unpreserve(own, number);
      case 5:
        return own && number % 3 === 0 ? this.#close(own) : undefined;
      case 6:
      case 7:
        return came && this.#retrieve(came, number);
      case 8:
        return came && own && this.#preserveAgain(came, own, number);
      case 9:
        return came && number % 2 === 0 ? this.#finish(came) : undefined;
      case 10:
        return came && this.#truncate(came, number);
      case 11:
        return this.#boot(number % 2 === 0);
      default:
        return undefined;
    }
  }

  async #create(name: string): Promise<void> {
    if (this.#own.some((session) => session.name === name)) return;
    await this.#watch(() => {
      const own = this.#machine.kernel.luo.createSession(name);
      this.#sessions.push({ name, files: new Map(), own, came: undefined });
    });
  }

  #token({ files }: ModelSession): number {
    let token = 0;
    while (files.has(token)) token += 1;
    return token;
  }

  async #preserve(session: ModelSession, number: number): Promise<void> {
    if (this.#count() >= MOST_FILES) return;
    const file = this.#newFile(number);
    const token = this.#token(session);
    await this.#watch(async () => {
      await session.own?.preserve(file, token);
      session.files.set(token, { file, content: contentOf(file) });
    });
  }

  #count(): number {
    return this.#sessions.reduce((sum, { files }) => sum + files.size, 0);
  }

  async #preserveAll(session: ModelSession, number: number): Promise<void> {
    if (this.#count() + 3 >= MOST_FILES) return;
    const first = 100 + this.#made;
    const files = [0, 1, 2].map((i) => [first + i, this.#newFile(number + i)] as const);
    await this.#watch(async () => {
      await session.own?.preserveAll(files);
      for (const [token, file] of files) session.files.set(token, { file, content: contentOf(file) });
    });
  }

  async #unpreserve(session: ModelSession, number: number): Promise<void> {
    const token = [...session.files.keys()].at(number % Math.max(1, session.files.size));
    if (token === undefined) return;
    await this.#watch(async () => {
      await session.own?.unpreserve(token);
      session.files.get(token)?.file?.close();
      session.files.delete(token);
    });
  }

  async #close(session: ModelSession): Promise<void> {
    await this.#watch(async () => {
      await session.own?.close();
      for (const { file } of session.files.values()) file?.close();
      this.#drop(session);
    });
  }

  #drop(session: ModelSession): void {
    this.#sessions = this.#sessions.filter((each) => each !== session);
  }

  async #retrieve(session: ModelSession, number: number): Promise<void> {
    const [token, entry] = [...session.files].at(number % Math.max(1, session.files.size)) ?? [];
    if (token === undefined || !entry || entry.file) return;
    await this.#watch(async () => {
      const file = await session.came?.retrieve(token, ShmemFile);
      expect(file && contentOf(file)).toBe(entry.content);
      session.files.set(token, { file, content: entry.content });
    });
  }

  /** A file that came goes into a session of this generation: it is found there alone. */
  async #preserveAgain(from: ModelSession, to: ModelSession, number: number): Promise<void> {
    const retrieved = [...from.files].filter(([, { file }]) => file);
    const [token, entry] = retrieved.at(number % Math.max(1, retrieved.length)) ?? [];
    if (token === undefined || !entry?.file) return;
    const { file } = entry;
    const target = this.#token(to);
    await this.#watch(async () => {
      await to.own?.preserve(file, target);
      from.files.delete(token);
      if (from.files.size === 0) this.#drop(from);
      to.files.set(target, { file, content: contentOf(file) });
    });
  }

  async #finish(session: ModelSession): Promise<void> {
    const { luo } = this.#machine.kernel;
    await this.#watch(async () => {
      await session.came?.finish();
      luo.flush();
      this.#drop(session);
      for (const { file } of session.files.values()) file?.close();
    });
  }

  /**
   * What is taken out of a file that came is there for the next owner, whoever wants its memory.
   */
  async #truncate(session: ModelSession, number: number): Promise<void> {
    const retrieved = [...session.files.values()].filter(({ file }) => file && file.size > 0);
    const entry = retrieved.at(number % Math.max(1, retrieved.length));
    if (!entry?.file) return;
    const { file } = entry;
    await this.#watch(() => {
      file.truncate(0);
      const others = [1, 2, 3].map((i) => this.#newFile(i));
      for (const other of others) other.close();
    });
  }

  /**
   * What gives way in a handover: sessions that came, have no files, and a name that
   * another has. Undefined where one with files would have to.
   */
  #inTheWay(): ModelSession[] | undefined {
    const names = new Set(this.#own.map(({ name }) => name));
    const came = this.#came.reverse();
    const inOrder = [
      ...came.filter(({ files }) => files.size > 0),
      ...came.filter(({ files }) => files.size === 0),
    ];
    const without: ModelSession[] = [];
    for (const session of inOrder) {
      if (names.has(session.name)) without.push(session);
      names.add(session.name);
    }
    return without.some(({ files }) => files.size > 0) ? undefined : without;
  }

  /** The next generation: handed over to, where no name is in the way, or after a death. */
  async #boot(isHandover: boolean): Promise<void> {
    const without = isHandover ? this.#inTheWay() : undefined;
    if (without)
      await this.#watch(async () => {
        await handOver(this.#machine);
        for (const session of without) this.#drop(session);
      });
    await this.#watch(() => {
      this.#machine = bootNext(this.ram);
      this.#machine.tenure.own();
    });
    const came = [...this.#machine.kernel.luo.incomingSessions];
    const known = this.#sessions.slice();
    this.#sessions = came.map((session) => {
      const same = known.findIndex(({ name, files }) => {
        const tokens = session.files.map(({ token }) => Number(token)).join();
        return name === session.name && [...files.keys()].join() === tokens;
      });
      const [{ files }] = known.splice(same, 1);
      const lost = [...files].map(([token, { content }]) => [token, { file: undefined, content }] as const);
      return { name: session.name, files: new Map(lost), own: undefined, came: session };
    });
    expect(known).toEqual([]);
  }
}

test(`at ${PREFIXES} instants of random sequences, what was promised is found`, async () => {
  let prefixes = 0;
  const steps = fc.array(fc.tuple(fc.nat(11), fc.nat(1000)), { minLength: 10, maxLength: 40 });
  for (let round = 0; prefixes < PREFIXES; round++) {
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const sequence = new Sequence();
        await sequence.step(0, 0);
        for (const [what, number] of list) await sequence.step(what, number);
        prefixes += sequence.prefixes;
      }),
      { seed: seed + round, numRuns: 3 },
    );
  }
  expect(prefixes).toBeGreaterThanOrEqual(PREFIXES);
});
