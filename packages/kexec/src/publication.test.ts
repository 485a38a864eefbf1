/**
 * What handlers do meanwhile, FLBs, sessions of one name, and machines that own nothing: what is
 * found after a death. Deaths at every store are in prefixes.stores.ts.
 */
import { codeOf, KernelError, PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import type { Kho } from '@liveupdate/kho';
import type { FileHandler, FileLifecycleBound, OutgoingContext } from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { MFD_ALLOW_SEALING, SEAL_SHRINK, ShmemFile } from '@liveupdate/shmem';
import { describe, expect, it } from 'vitest';
import type { Generation } from './generation.ts';
import type { HandlerFactory } from './kernel.ts';
import type { MachineOptions } from './machine-options.ts';
import { bootNext, describeIncoming, find, handOver, TestRam, untakenFrames } from './test-generations.ts';

const SIZE = 128 * PAGE_SIZE;

/** A file that is a number, kept in a page of its own. */
class Note {
  value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** Takes its time, and writes a page anew at each freeze. */
function noteHandler(
  kho: Kho,
  meanwhile: () => Promise<void> | void,
  flbs?: FileLifecycleBound[],
): FileHandler<Note> {
  const keep = (value: number): { data: number } => {
    const block = kho.allocPreserve(8);
    block.setU64({ at: 0, bytes: 8 }, value);
    return { data: block.pa };
  };
  const anew = ({ file, data }: OutgoingContext<Note>): { data: number } => {
    if (file.value < 0) throw new Error('no such value');
    const kept = keep(file.value);
    kho.unpreserveFree(data);
    return kept;
  };
  return {
    compatible: 'note-v1',
    ...(flbs && { flbs }),
    canPreserve: (file): file is Note => file instanceof Note,
    preserve: async ({ file }) => {
      const kept = keep(file.value);
      await meanwhile();
      return kept;
    },
    freeze: anew,
    checkpoint: anew,
    unpreserve: async ({ data }) => {
      kho.unpreserveFree(data);
      await meanwhile();
    },
    retrieve: ({ data }) => {
      const value = kho.at(data).getNumber({ at: 0, bytes: 8 });
      kho.restoreFree(data);
      return new Note(value);
    },
    finish: ({ data, retrieval }) => {
      if (retrieval === 'untried') kho.restoreFree(data);
    },
  };
}

function notes(
  meanwhile: () => Promise<void> | void = () => undefined,
  flbs?: FileLifecycleBound[],
): MachineOptions {
  const handlers: HandlerFactory = ({ kho, shmem }) => [
    noteHandler(kho, meanwhile, flbs),
    memfdHandler({ kho, shmem }),
  ];
  return { handlers };
}

function own(ram: TestRam, options?: MachineOptions): Generation {
  const next = bootNext(ram, options);
  next.tenure.own();
  return next;
}

async function valueOf(machine: Generation, name: string, token: number): Promise<number> {
  return (await machine.kernel.luo.retrieveSession(name).retrieve(token, Note)).value;
}

describe('while a callback is waited for', () => {
  it('what it has taken back is used by nobody else', async () => {
    const ram = new TestRam(SIZE);
    let died: TestRam | undefined;
    const machine = bootNext(
      ram,
      notes(() => {
        if (machine.kernel.luo.outgoingSessions[0]?.fileCount !== 1) return;
        const { pages } = machine.kernel;
        for (let i = 0; i < 8; i++) pages.folioWindow(pages.alloc(0)).fill(0xee);
        died = TestRam.of(ram.memory8);
      }),
    );
    const session = machine.kernel.luo.createSession('s');
    await session.preserve(new Note(42), 1);
    await session.unpreserve(1);
    expect(died && (await valueOf(own(died, notes()), 's', 1))).toBe(42);
    expect(own(ram, notes()).kernel.luo.incomingSessions[0].fileCount).toBe(0);
  });

  it('what it has preserved already is not there', async () => {
    const ram = new TestRam(SIZE);
    let died: TestRam | undefined;
    const machine = bootNext(
      ram,
      notes(() => {
        died = TestRam.of(ram.memory8);
      }),
    );
    await machine.kernel.luo.createSession('s').preserve(new Note(42), 1);
    const after = own(died ?? ram, notes());
    expect(after.kernel.luo.incomingSessions[0].fileCount).toBe(0);
    expect(after.kernel.kho.publication?.arrivedRows().length).toBe(0);
  });
});

it('new data of a freeze takes the place of the old for all files in one, called off or not', async () => {
  const ram = new TestRam(SIZE);
  const machine = bootNext(ram, notes());
  const session = machine.kernel.luo.createSession('s');
  const files = [new Note(1), new Note(2)];
  for (const [token, file] of files.entries()) await session.preserve(file, token);
  for (const file of files) file.value += 10;
  await machine.kernel.luo.reboot();
  const frozen = TestRam.of(ram.memory8); // sealed by nobody
  await machine.kernel.luo.cancelReboot();
  for (const image of [frozen, ram]) {
    const next = own(image, notes());
    const came = next.kernel.luo.retrieveSession('s');
    expect([(await came.retrieve(0, Note)).value, (await came.retrieve(1, Note)).value]).toEqual([11, 12]);
    next.kernel.pages.assertConsistent();
  }
});

it('new data of a freeze counts where another file calls the handover off, whatever comes next', async () => {
  const died: TestRam[] = [];
  for (const isNextRefused of [false, true]) {
    const ram = new TestRam(SIZE);
    const machine = bootNext(ram, notes());
    const session = machine.kernel.luo.createSession('s');
    const files = [new Note(1), new Note(2)];
    for (const [token, file] of files.entries()) await session.preserve(file, token);
    for (const file of files) file.value += 10;
    files[1].value = -1;
    await expect(machine.kernel.luo.reboot()).rejects.toThrow('no such value');
    died.push(TestRam.of(ram.memory8));
    if (isNextRefused) await expect(session.preserve(files[0], 5)).rejects.toThrow('EBUSY');
    await session.preserve(new Note(3), 3);
    died.push(ram);
  }
  for (const [i, image] of died.entries()) {
    const next = own(image, notes());
    const came = next.kernel.luo.retrieveSession('s');
    const found = await Promise.all([0, 1].map((token) => came.retrieve(token, Note)));
    expect([i, ...found.map(({ value }) => value)]).toEqual([i, 11, 2]);
    next.kernel.pages.assertConsistent();
  }
});

describe('a checkpoint', () => {
  it('brings positions and seals of memfds up to date', async () => {
    const ram = new TestRam(SIZE);
    const machine = bootNext(ram);
    const file = fileOf(machine, 7, 2);
    await machine.kernel.luo.createSession('s').preserve(file, 1);
    file.seek(100);
    file.addSeals(SEAL_SHRINK);
    const before = TestRam.of(ram.memory8);
    await machine.kernel.luo.checkpoint();
    const states = [];
    for (const image of [before, ram]) {
      const found = await own(image).kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
      states.push([found.position, found.inode.seals]);
    }
    expect(states).toEqual([
      [2 * PAGE_SIZE, 0],
      [100, SEAL_SHRINK],
    ]);
  });

  it('publishes the new data of all files in one, but of those whose handler throws', async () => {
    const ram = new TestRam(SIZE);
    const machine = bootNext(ram, notes());
    const session = machine.kernel.luo.createSession('s');
    const files = [new Note(1), new Note(2), new Note(3)];
    for (const [token, file] of files.entries()) await session.preserve(file, token);
    for (const file of files) file.value += 10;
    files[1].value = -1;
    await expect(machine.kernel.luo.checkpoint()).rejects.toThrow('no such value');
    const came = own(ram, notes()).kernel.luo.retrieveSession('s');
    const found = await Promise.all([0, 1, 2].map((token) => came.retrieve(token, Note)));
    expect(found.map(({ value }) => value)).toEqual([11, 2, 13]);
  });
});

describe('an FLB', () => {
  function counted(kho: () => Kho): FileLifecycleBound<number> {
    return {
      compatible: 'flb-v1',
      preserve: async ({ incoming }) => {
        const block = kho().allocPreserve(8);
        const before = (await incoming()) ?? 0;
        block.setU64({ at: 0, bytes: 8 }, before + 1);
        return { data: block.pa, object: before + 1 };
      },
      unpreserve: ({ data }) => {
        kho().unpreserveFree(data);
      },
      retrieve: ({ data }) => kho().at(data).getNumber({ at: 0, bytes: 8 }),
      finish: ({ data }) => {
        kho().restoreFree(data);
      },
    };
  }

  it('of each kernel that died is there as long as files hold it, the right one for each file', async () => {
    const ram = new TestRam(SIZE);
    const boot = (): { machine: Generation; flb: FileLifecycleBound<number> } => {
      const flb = counted(() => machine.kernel.kho);
      const machine: Generation = own(
        ram,
        notes(() => undefined, [flb]),
      );
      return { machine, flb };
    };
    const one = boot();
    const first = one.machine.kernel.luo.createSession('s');
    await first.preserve(new Note(1), 1);
    await first.preserve(new Note(2), 2);
    const two = boot();
    const before = two.machine.kernel.luo.retrieveSession('s');
    const note = await before.retrieve(1, Note);
    await two.machine.kernel.luo.createSession('s').preserve(note, 1);
    const three = boot();
    expect(three.machine.kernel.luo.incomingFlbs.map(({ compatible, files }) => [compatible, files])).toEqual(
      [
        ['flb-v1', 1n],
        ['flb-v1', 1n],
      ],
    );
    const { luo, pages, kho } = three.machine.kernel;
    expect(await luo.retrieveFlb(three.flb)).toBe(2);
    await luo.retrieveSession('s').finish();
    expect(await luo.retrieveFlb(three.flb)).toBe(1);
    await luo.retrieveSession('s', { unfinished: true }).finish();
    luo.flush();
    expect(kho.publication?.arrivedRows().length).toBe(0);
    pages.assertConsistent();
    expect(await find(ram)).toBe('');
  });
});

function fileOf({ kernel }: Generation, byte: number, pages = 1): ShmemFile {
  const file = kernel.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
  file.write(new Uint8Array(pages * PAGE_SIZE).fill(byte));
  return file;
}

describe('two sessions of one name', () => {
  async function both(): Promise<{ ram: TestRam; machine: Generation }> {
    const ram = new TestRam(SIZE);
    const machine = bootNext(ram);
    const session = machine.kernel.luo.createSession('s');
    await session.preserve(fileOf(machine, 1), 1);
    await session.preserve(fileOf(machine, 2), 2);
    const next = own(ram);
    const file = await next.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
    await next.kernel.luo.createSession('s').preserve(file, 1);
    return { ram, machine: own(ram) };
  }

  it('are the newer, and the older with what it has still', async () => {
    const { luo } = (await both()).machine.kernel;
    expect(luo.incomingSessions.map(({ name, fileCount }) => [name, fileCount])).toEqual([
      ['s', 1],
      ['s', 1],
    ]);
    const newer = luo.retrieveSession('s');
    const older = luo.retrieveSession('s', { unfinished: true });
    expect([newer, older].map(({ files }) => files.map(({ token }) => Number(token)))).toEqual([[1], [2]]);
    expect(() => luo.retrieveSession('s')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => luo.retrieveSession('s', { unfinished: true })).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    expect(() => luo.retrieveSession('t', { unfinished: true })).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });

  it('are in the way of a handover, which says so, or drops the older', async () => {
    const { ram, machine } = await both();
    const { luo, pages } = machine.kernel;
    const code = await luo.reboot().then(() => '', codeOf);
    expect([code, luo.state]).toEqual(['EBUSY', 'running']);
    await luo.reboot({ dropUnfinished: true });
    await luo.cancelReboot();
    pages.assertConsistent();
    expect(await find(ram)).toBe('s: 1=1x1');
    await handOver(machine);
    expect(await find(ram)).toBe('s: 1=1x1');
  });

  it('of which the older is dropped with a handover, leave none of its memory to the next', async () => {
    const ram = new TestRam(SIZE);
    const first = own(ram);
    const session = first.kernel.luo.createSession('s');
    for (const token of [1, 2]) await session.preserve(fileOf(first, token), token);
    const machine = own(ram);
    const file = await machine.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
    await machine.kernel.luo.createSession('s').preserve(file, 1);
    machine.tenure.begin();
    await machine.tenure.seal(1n, 2n, { isExec: true, dropUnfinished: true });
    const next = own(ram);
    expect(next.origin).toBe('handover');
    await next.kernel.luo.retrieveSession('s').finish();
    next.kernel.luo.flush();
    expect(untakenFrames(next)).toBe(1); // the metadata of the kernel before, as after each handover
    next.kernel.pages.assertConsistent();
  });

  it('of which the older is finished, the newer goes on', async () => {
    const { ram, machine } = await both();
    await machine.kernel.luo.retrieveSession('s', { unfinished: true }).finish();
    await handOver(machine);
    const next = bootNext(ram);
    expect(next.origin).toBe('handover');
    expect(await describeIncoming(next)).toBe('s: 1=1x1');
  });
});

describe('a machine that keeps the handover', () => {
  async function guest(): Promise<{ ram: TestRam; machine: Generation }> {
    const ram = new TestRam(SIZE);
    const before = bootNext(ram);
    await before.kernel.luo.createSession('s').preserve(fileOf(before, 1, 2), 1);
    await handOver(before);
    const machine = bootNext(ram, { keepHandover: true });
    const file = await machine.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
    await machine.kernel.luo.createSession('t').preserve(file, 1);
    await machine.kernel.luo.createSession('u').preserve(fileOf(machine, 3), 3);
    await machine.kernel.luo.incomingSessions[0].finish();
    return { ram, machine };
  }

  it('was never there, where it dies', async () => {
    const { ram } = await guest();
    const next = bootNext(ram);
    expect(next.origin).toBe('handover');
    expect(await describeIncoming(next)).toBe('s: 1=1x2');
    next.kernel.pages.assertConsistent();
  });

  it('hands over all that it did in one', async () => {
    const { ram, machine } = await guest();
    await handOver(machine);
    const next = bootNext(ram);
    expect(await describeIncoming(next)).toBe('t: 1=1x2; u: 3=3x1');
    next.tenure.own();
    next.kernel.pages.assertConsistent();
    expect(await find(ram)).toBe('t: 1=1x2; u: 3=3x1');
  });

  it('was never there either, where its handover is called off and it dies', async () => {
    const { ram, machine } = await guest();
    await handOver(machine);
    await machine.tenure.callOff();
    expect(await find(ram)).toBe('s: 1=1x2');
  });
});

it('part of a folio that came cannot be preserved as another, before its session is finished', async () => {
  const ram = new TestRam(SIZE);
  const handlers: HandlerFactory = ({ kho }) => [pieceHandler(kho)];
  const machine = bootNext(ram, { handlers });
  const { pages } = machine.kernel;
  const folio = pages.alloc(2);
  await machine.kernel.luo.createSession('s').preserve(new Piece(folio), 1);
  const next = own(ram, { handlers });
  const { luo } = next.kernel;
  const piece = await luo.retrieveSession('s').retrieve(1, Piece);
  next.kernel.pages.split(piece.pfn);
  const session = luo.createSession('t');
  expect(await session.preserve(new Piece(piece.pfn + 1), 1).then(() => '', codeOf)).toBe('EBUSY');
  next.kernel.pages.assertConsistent();
  await luo.incomingSessions[0].finish();
  luo.flush();
  await session.preserve(new Piece(piece.pfn + 1), 1);
});

/** A folio in use. */
class Piece {
  readonly pfn: number;
  constructor(pfn: number) {
    this.pfn = pfn;
  }
}

function pieceHandler(kho: Kho): FileHandler<Piece> {
  return {
    compatible: 'piece-v1',
    canPreserve: (file): file is Piece => file instanceof Piece,
    preserve: ({ file }) => {
      kho.preserveFolio(file.pfn);
      return { data: pfnToPhys(file.pfn) };
    },
    unpreserve: ({ file }) => {
      kho.unpreserveFolio(file.pfn);
    },
    retrieve: ({ data }) => {
      const pfn = Number(data) / PAGE_SIZE;
      kho.restoreFolio(pfn);
      return new Piece(pfn);
    },
    finish: () => undefined,
  };
}

/**
 * Files whose pages lie in turn, so that each page is a row of its own: the log needs pages for
 * them.
 */
function scattered({ kernel }: Generation, pages: number): ShmemFile[] {
  const files = [1, 2].map(() => kernel.shmem.memfdCreate('f', MFD_ALLOW_SEALING));
  for (let page = 0; page < pages; page++)
    for (const [i, file] of files.entries()) file.write(new Uint8Array(PAGE_SIZE).fill(i + 1));
  return files;
}

it('what a later version has written is not taken for what this one would', async () => {
  const ram = new TestRam(SIZE);
  const machine = own(ram);
  await machine.kernel.luo.createSession('s').preserve(fileOf(machine, 1, 1), 1);
  machine.kernel.kho.publication?.addPage(19, 0);
  expect(() => bootNext(ram)).toThrow('another version of luo-core');
});

describe('each allocation fails once:', () => {
  type Prepare = (machine: Generation) => (() => unknown) | Promise<() => unknown>;
  const OPERATIONS: Record<string, Prepare> = {
    createSession: (machine) => () => machine.kernel.luo.createSession('another'),
    preserve: (machine) => {
      const [file] = scattered(machine, 40);
      const session = machine.kernel.luo.createSession('s');
      return () => session.preserve(file, 1);
    },
    preserveAll: (machine) => {
      const files = scattered(machine, 40);
      const session = machine.kernel.luo.createSession('s');
      return () => session.preserveAll(files.entries());
    },
    unpreserve: async (machine) => {
      const files = scattered(machine, 40);
      const session = machine.kernel.luo.createSession('s');
      await session.preserveAll(files.entries());
      return () => session.unpreserve(1);
    },
    'finish, and the end of the turn': (machine) => {
      const [session] = machine.kernel.luo.incomingSessions;
      return async () => {
        await session.finish();
        machine.kernel.luo.flush();
      };
    },
    'a reboot with a session that is not finished': (machine) => () => machine.kernel.luo.reboot(),
  };

  it.each(Object.entries(OPERATIONS))('%s', async (_, prepare) => {
    for (let n = 0, isHit = true; isHit; n++) {
      const ram = new TestRam(2 * SIZE);
      const before = bootNext(ram);
      await before.kernel.luo.createSession('came').preserve(fileOf(before, 9, 2), 9);
      const machine = own(ram);
      const operation = await prepare(machine);
      const { pages } = machine.kernel;
      const was = await find(TestRam.of(ram.memory8));
      let left = n;
      pages.beforeAllocation = () => {
        if (left-- === 0) throw new KernelError('ENOMEM', 'injected');
      };
      const code = await Promise.resolve()
        .then(operation)
        .then(() => undefined, codeOf);
      pages.beforeAllocation = undefined;
      isHit = left < 0;
      pages.assertConsistent();
      const now = await find(TestRam.of(ram.memory8));
      if (code !== undefined) {
        expect([code, now]).toEqual(['ENOMEM', was]);
        await operation(); // what failed for want of memory works when there is some
        pages.assertConsistent();
      }
      expect(await find(TestRam.of(ram.memory8))).not.toContain('!');
    }
  });

  /** Notes that lie apart, so that each is a row of its own. */
  async function scatteredNotes(machine: Generation): Promise<Note[]> {
    const { pages, luo } = machine.kernel;
    const session = luo.createSession('s');
    const all = Array.from({ length: 40 }, (_, i) => new Note(i));
    for (const [token, note] of all.entries()) {
      await session.preserve(note, token);
      pages.alloc(0);
    }
    return all;
  }

  /** The values of the notes that are found, all of whose memory is found too, and no other. */
  async function foundNotes(image: Uint8Array): Promise<number[]> {
    const { kernel } = own(TestRam.of(image), notes());
    const arrived = kernel.kho.publication?.arrivedRows();
    expect(arrived?.counts.subarray(0, arrived.length).reduce((sum, count) => sum + count, 0)).toBe(40);
    const session = kernel.luo.retrieveSession('s');
    const values: number[] = [];
    for (const { token } of session.files) values.push((await session.retrieve(token, Note)).value);
    await session.finish();
    kernel.luo.flush();
    kernel.pages.assertConsistent();
    return values;
  }

  const RENEWING: Record<string, (machine: Generation) => Promise<void>> = {
    'a checkpoint': ({ kernel }) => kernel.luo.checkpoint(),
    'a freeze that is called off': async ({ kernel }) => {
      await kernel.luo.reboot();
      await kernel.luo.cancelReboot();
    },
  };

  it.each(Object.entries(RENEWING))('%s', async (_, operation) => {
    for (let n = 0, isHit = true; isHit; n++) {
      const ram = new TestRam(2 * SIZE);
      const machine = own(ram, notes());
      const all = await scatteredNotes(machine);
      for (const note of all) note.value += 100;
      const { pages } = machine.kernel;
      let left = n;
      pages.beforeAllocation = () => {
        if (left-- === 0) throw new KernelError('ENOMEM', 'injected');
      };
      const code = await operation(machine).then(() => undefined, codeOf);
      pages.beforeAllocation = undefined;
      isHit = left < 0;
      expect(code).toBe(isHit ? 'ENOMEM' : undefined);
      const found = await foundNotes(ram.memory8);
      expect(found.map((value) => value % 100)).toEqual([...all.keys()]);
      await operation(machine);
      expect(await foundNotes(ram.memory8)).toEqual(all.map(({ value }) => value));
      pages.assertConsistent();
    }
  });
});
