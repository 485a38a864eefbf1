/**
 * What the live record says of the memory that the system has given, at every instant: a next owner
 * that trusts it touches no page that is not there, and takes none for zeros that holds something.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { CHUNK_FRAMES, type RamPiece, type SystemMemory } from '@liveupdate/mm';
import { readLiveRecord } from '@liveupdate/kho';
import { storesOf } from '@liveupdate/mm/test-stores';
import { ShmemFile } from '@liveupdate/shmem';
import { describe, expect, it } from 'vitest';
import { readBootPage } from './boot-page.ts';
import type { Generation } from './generation.ts';
import { bootNext, handOver, TestRam } from './test-generations.ts';

const FRAMES = 192;
/** Pages of residency in a live record: see live-layout.ts of kho. */
const RESIDENCY_PAGE = 4;
/** Pages of the file, most of them a hole. */
const PAGES = 40;
/** A place in the hole that no page was taken for together with others. */
const HOLE = 30 * PAGE_SIZE;
/** Behind the memory: a byte for each frame, 1 where the system has given it. */
const GIVEN_AT = FRAMES * PAGE_SIZE;
const SIZE = GIVEN_AT + PAGE_SIZE;

/** A sparse RAM that says in itself what of it is there, so that this is among its stores. */
class SparseTestRam extends TestRam implements SystemMemory {
  readonly system = this;
  readonly memory: readonly RamPiece[] = [{ pa: 0, length: GIVEN_AT }];
  readonly given = this.bytes(GIVEN_AT, FRAMES);
  /** So many pages the system has still. */
  left = Infinity;

  constructor() {
    super(SIZE);
  }

  reserve(pa: number, length: number): void {
    const frames = framesIn(pa, length);
    if (frames.filter((pfn) => this.given[pfn] === 0).length > this.left) throw full();
    for (const pfn of frames) this.#give(pfn);
  }

  populate(pa: number, length: number): void {
    for (const pfn of framesIn(pa, length)) this.#give(pfn);
  }

  populateHuge(): boolean {
    return false;
  }

  read(pa: number, target: Uint8Array): void {
    target.set(this.bytes(pa, target.length));
  }

  /** As far as the system has memory, as pwrite does. */
  write(pa: number, bytes: Uint8Array): void {
    for (const pfn of framesIn(pa, bytes.length)) {
      this.#give(pfn);
      const from = Math.max(0, pfn * PAGE_SIZE - pa);
      const part = bytes.subarray(from, (pfn + 1) * PAGE_SIZE - pa);
      this.bytes(pa + from, part.length).set(part);
    }
  }

  dataPieces(pa: number, length: number): RamPiece[] {
    return framesIn(pa, length)
      .filter((pfn) => this.given[pfn] === 1)
      .map((pfn) => ({ pa: pfn * PAGE_SIZE, length: PAGE_SIZE }));
  }

  override discard(pa: number, length: number): void {
    for (const pfn of framesIn(pa, length)) {
      super.discard(pfn * PAGE_SIZE, PAGE_SIZE);
      this.left += this.given[pfn];
      this.given[pfn] = 0;
    }
  }

  /** What a store through a view does. */
  store(bytes: Uint8Array, at: number, value: number): void {
    this.#give(Math.floor((bytes.byteOffset + at) / PAGE_SIZE));
    bytes[at] = value;
  }

  #give(pfn: number): void {
    if (this.given[pfn] === 1) return;
    if (this.left === 0) throw full();
    this.left -= 1;
    this.given[pfn] = 1;
  }
}

function full(): KernelError {
  return new KernelError('ENOSPC', 'the system is full');
}

function framesIn(pa: number, length: number): number[] {
  const first = Math.floor(pa / PAGE_SIZE);
  return Array.from({ length: Math.ceil((pa + length) / PAGE_SIZE) - first }, (_, i) => first + i);
}

/** What is wrong for a next owner that trusts the record; undefined where it does not. */
function mistakes(image: Uint8Array): string[] | undefined {
  const ram = TestRam.of(image);
  const { live, liveChange, state } = readBootPage(ram.bytes(0, PAGE_SIZE), ram.size);
  if (!live) return undefined;
  const record = readLiveRecord(ram, live, state === 'handed-over' ? liveChange : undefined);
  const { doubt } = record;
  if (!doubt) return undefined;
  const bits = new Uint8Array(CHUNK_FRAMES / 8);
  for (const { kind, pfn } of record.pages)
    if (kind === RESIDENCY_PAGE) bits.set(ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE));
  const wrong: string[] = [];
  for (let pfn = 0; pfn < FRAMES; pfn++) {
    if (pfn >= doubt.pfn && pfn < doubt.pfn + doubt.count) continue;
    const isThere = (bits[pfn >>> 3] & (1 << (pfn & 7))) !== 0;
    const isGiven = image[GIVEN_AT + pfn] === 1;
    const page = ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE);
    if (isThere && !isGiven) wrong.push(`frame ${pfn} is not there`);
    if (pfn > 0 && !isThere && page.some((byte) => byte !== 0)) wrong.push(`frame ${pfn} is no zeros`);
  }
  return wrong;
}

/** Whether a frame is being written. */
function isDoubted(image: Uint8Array): boolean {
  const ram = TestRam.of(image);
  const { live } = readBootPage(ram.bytes(0, PAGE_SIZE), ram.size);
  return live > 0 && (readLiveRecord(ram, live).doubt?.count ?? 0) > 0;
}

interface Made {
  readonly ram: SparseTestRam;
  readonly machine: Generation;
  /** Preserved: a page of bytes, a hole, a page of bytes. */
  readonly file: ShmemFile;
}

async function made(): Promise<Made> {
  const ram = new SparseTestRam();
  const machine = bootNext(ram, { freeMemory: 'zero' });
  machine.tenure.own();
  const file = machine.kernel.shmem.memfdCreate('f');
  file.truncate(PAGES * PAGE_SIZE);
  for (const page of [0, PAGES - 1]) file.pwrite(new Uint8Array(PAGE_SIZE).fill(7), page * PAGE_SIZE);
  await machine.kernel.luo.createSession('s').preserve(file, 1);
  return { ram, machine, file };
}

const page = (value: number): Uint8Array => new Uint8Array(PAGE_SIZE).fill(value);

const OPERATIONS: Record<string, (made: Made) => unknown> = {
  'writing into a hole': ({ file }) => file.pwrite(page(9), HOLE),
  'writing into a hole, with too little memory': ({ ram, file }) => {
    ram.left = 1;
    expect(() => file.pwrite(new Uint8Array(3 * PAGE_SIZE).fill(9), HOLE)).toThrow('ENOSPC');
  },
  'a new file, preserved too': async ({ machine: { kernel } }) => {
    const file = kernel.shmem.memfdCreate('g');
    file.write(new Uint8Array(3 * PAGE_SIZE).fill(3));
    await kernel.luo.createSession('t').preserve(file, 2);
  },
  'a file that goes, and free memory given back': async ({ machine: { kernel }, file }) => {
    await kernel.luo.outgoingSessions[0].unpreserve(1);
    file.truncate(PAGE_SIZE);
    kernel.pages.residency.giveBackFree();
  },
  'a view of holes that is stored to': ({ ram, machine: { kernel } }) => {
    const file = kernel.shmem.memfdCreate('g');
    file.truncate(PAGE_SIZE);
    kernel.pages.residency.giveBackFree();
    const view = file.map({ sparse: true });
    ram.store(view.bytes, 0, 5);
    view.unmap();
  },
  'a handover, and the next generation': async ({ ram, machine, file }) => {
    file.pwrite(page(9), HOLE);
    await handOver(machine);
    const next = bootNext(ram);
    const came = await next.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
    came.pwrite(page(8), HOLE + PAGE_SIZE);
    next.tenure.own();
    next.kernel.shmem.memfdCreate('h').write(page(1));
  },
  'a next generation that does not commit, and its owner that goes on': async ({ ram, machine, file }) => {
    await handOver(machine);
    const next = bootNext(ram, {}, machine.tenure.lend());
    next.kernel.shmem.memfdCreate('h').write(new Uint8Array(16 * PAGE_SIZE).fill(1));
    expect(await machine.tenure.callOff()).toEqual([]);
    file.pwrite(page(9), HOLE);
    machine.kernel.shmem.memfdCreate('i').write(page(2));
  },
  'a recovery that dies, and another': async ({ ram }) => {
    const next = bootNext(ram, { freeMemory: 'discard' });
    next.kernel.shmem.memfdCreate('h').write(page(1));
    const again = bootNext(ram, { freeMemory: 'discard' });
    again.tenure.own();
    const came = await again.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
    came.pwrite(page(8), HOLE + PAGE_SIZE);
  },
};

describe('after every store of', () => {
  it.each(Object.entries(OPERATIONS))('%s', async (_, operation) => {
    const start = await made();
    const all = start.ram.memory8;
    const image = all.slice();
    expect(mistakes(image)).toEqual([]);
    const stores = await storesOf(all.buffer, async () => {
      await operation(start);
    });
    let trusted = 0;
    for (const { at, bytes } of stores) {
      image.set(bytes, at);
      const wrong = mistakes(image);
      expect(wrong ?? []).toEqual([]);
      if (wrong) trusted += 1;
    }
    expect(Buffer.compare(image, all), 'all stores were seen').toBe(0);
    expect(mistakes(image)).toEqual([]);
    expect(trusted).toBeGreaterThan(0);
  });
});

it('after every store of a recovery from the midst of a write', async () => {
  const start = await made();
  const image = start.ram.memory8.slice();
  const stores = await storesOf(start.ram.memory8.buffer, () => void start.file.pwrite(page(9), HOLE));
  let recoveries = 0;
  for (const { at, bytes } of stores) {
    image.set(bytes, at);
    if (!isDoubted(image)) continue;
    recoveries += 1;
    const ram = new SparseTestRam();
    ram.memory8.set(image);
    const now = image.slice();
    const more = await storesOf(ram.memory8.buffer, () => {
      bootNext(ram, { freeMemory: 'discard' }).tenure.own();
    });
    for (const store of more) {
      now.set(store.bytes, store.at);
      expect(mistakes(now) ?? []).toEqual([]);
    }
    expect(mistakes(now)).toEqual([]);
  }
  expect(recoveries).toBeGreaterThan(0);
});
