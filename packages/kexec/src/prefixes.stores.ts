/**
 * A process may die at any instruction: after every single store to RAM that an operation makes,
 * the next owner finds what was there before the operation, or what is there after it, and nothing
 * in between.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { MFD_ALLOW_SEALING, ShmemFile } from '@liveupdate/shmem';
import { describe, expect, it } from 'vitest';
import type { Generation } from './generation.ts';
import { bootNext, describeIncoming, find, handOver, TestRam, untakenFrames } from './test-generations.ts';
import { everyPrefix, type Scene } from './test-prefixes.ts';
import { forEachPrefix, storesOf } from '@liveupdate/mm/test-stores';

const SIZE = 160 * PAGE_SIZE;

function fileOf({ kernel }: Generation, byte: number, pages = 1): ShmemFile {
  const file = kernel.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
  file.write(new Uint8Array(pages * PAGE_SIZE).fill(byte));
  return file;
}

/** A first generation, the owner of a new RAM. */
function first(): { ram: TestRam; machine: Generation } {
  const ram = new TestRam(SIZE);
  return { ram, machine: bootNext(ram) };
}

/** The next generation, the owner too. */
function next(ram: TestRam): Generation {
  const machine = bootNext(ram);
  machine.tenure.own();
  return machine;
}

/** A RAM whose owner left two files in session `s`, and the generation that has retrieved them. */
async function second(
  isHandover: boolean,
): Promise<{ ram: TestRam; machine: Generation; files: ShmemFile[] }> {
  const { ram, machine } = first();
  const session = machine.kernel.luo.createSession('s');
  await session.preserve(fileOf(machine, 1, 3), 1);
  await session.preserve(fileOf(machine, 2), 2);
  if (isHandover) await handOver(machine);
  const owner = next(ram);
  const before = owner.kernel.luo.retrieveSession('s');
  return {
    ram,
    machine: owner,
    files: [await before.retrieve(1, ShmemFile), await before.retrieve(2, ShmemFile)],
  };
}

/** A machine that keeps what it was handed, and has finished it and preserved it again. */
async function guest(): Promise<{ ram: TestRam; machine: Generation }> {
  const { ram, machine: before } = first();
  await before.kernel.luo.createSession('s').preserve(fileOf(before, 1, 2), 1);
  await handOver(before);
  const machine = bootNext(ram, { keepHandover: true });
  const came = machine.kernel.luo.retrieveSession('s');
  await machine.kernel.luo.createSession('t').preserve(await came.retrieve(1, ShmemFile), 1);
  await machine.kernel.luo.createSession('u').preserve(fileOf(machine, 3), 3);
  await came.finish();
  return { ram, machine };
}

it('sees stores to elements of typed arrays', async () => {
  const ram = new TestRam(SIZE);
  const stores = await storesOf(ram.memory8.buffer, () => {
    const words = new Uint32Array(ram.memory8.buffer);
    words[3] = 7;
    words[3] |= 8;
    words[4]++;
    words.fill(1, 8, 10);
  });
  expect(stores.map(({ at, bytes }) => [at, bytes[0], bytes.length])).toEqual([
    [12, 7, 4],
    [12, 15, 4],
    [16, 1, 4],
    [32, 1, 8],
  ]);
});

it('a copy of the boot page that is being written has no checksum', async () => {
  const { ram, machine } = first();
  machine.tenure.leaveEmpty();
  const image = ram.memory8.slice();
  const stores = await storesOf(ram.memory8.buffer, () => machine.tenure.leaveEmpty());
  const copy = stores[0].at < 2048 ? 0 : 2048;
  const checksums = stores.map(({ at, bytes }) => {
    image.set(bytes, at);
    return new DataView(image.buffer).getUint32(copy + 124, true);
  });
  expect(checksums.slice(0, -1)).toEqual(checksums.slice(0, -1).map(() => 0));
  expect(checksums.at(-1)).not.toBe(0);
});

const OPERATIONS: Record<string, () => Scene | Promise<Scene>> = {
  'the first session of a RAM': () => {
    const { ram, machine } = first();
    return { ram, operation: () => void machine.kernel.luo.createSession('s') };
  },
  'the first preserve': () => {
    const { ram, machine } = first();
    const session = machine.kernel.luo.createSession('s');
    const file = fileOf(machine, 1, 3);
    return { ram, operation: () => session.preserve(file, 1) };
  },
  'one preserve among others': async () => {
    const { ram, machine } = first();
    const session = machine.kernel.luo.createSession('s');
    for (let token = 1; token < 5; token++) await session.preserve(fileOf(machine, token), token);
    const file = fileOf(machine, 9, 2);
    return { ram, operation: () => session.preserve(file, 9) };
  },
  preserveAll: () => {
    const { ram, machine } = first();
    const session = machine.kernel.luo.createSession('s');
    const files = new Map([1, 2, 3, 40].map((token) => [token, fileOf(machine, token, (token % 3) + 1)]));
    return { ram, operation: () => session.preserveAll(files) };
  },
  'a preserveAll that makes a new page of slots': async () => {
    const { ram, machine } = first();
    const session = machine.kernel.luo.createSession('s');
    for (let token = 100; token < 130; token++) await session.preserve(fileOf(machine, token), token);
    const files = new Map([1, 2, 3, 4].map((token) => [token, fileOf(machine, token)]));
    return { ram, operation: () => session.preserveAll(files) };
  },
  unpreserve: async () => {
    const { ram, machine } = first();
    const session = machine.kernel.luo.createSession('s');
    for (let token = 1; token < 4; token++) await session.preserve(fileOf(machine, token, token), token);
    return { ram, operation: () => session.unpreserve(2) };
  },
  'close of a session': async () => {
    const { ram, machine } = first();
    const session = machine.kernel.luo.createSession('s');
    await machine.kernel.luo.createSession('t').preserve(fileOf(machine, 7), 7);
    for (let token = 1; token < 4; token++) await session.preserve(fileOf(machine, token, token), token);
    return { ram, operation: () => session.close() };
  },
  'freeze and handover': async () => {
    const { ram, machine } = first();
    const session = machine.kernel.luo.createSession('s');
    const file = fileOf(machine, 1, 3);
    await session.preserve(file, 1);
    file.seek(5);
    return { ram, operation: () => handOver(machine) };
  },
  'a boot from a handover, and the first turn': async () => {
    const { ram, machine } = first();
    await machine.kernel.luo.createSession('s').preserve(fileOf(machine, 1, 3), 1);
    await handOver(machine);
    return { ram, operation: () => void next(ram) };
  },
  'a boot after a death, and the first turn': async () => {
    const { ram, machine } = first();
    await machine.kernel.luo.createSession('s').preserve(fileOf(machine, 1, 3), 1);
    return { ram, operation: () => void next(ram) };
  },
  'the handover of a machine that keeps what it was handed': async () => {
    const { ram, machine } = await guest();
    return { ram, operation: () => handOver(machine) };
  },
  'a boot from that handover, and the first turn': async () => {
    const { ram, machine } = await guest();
    await handOver(machine);
    return { ram, operation: () => void next(ram) };
  },
  close: async () => {
    const { ram, machine } = first();
    await machine.kernel.luo.createSession('s').preserve(fileOf(machine, 1, 3), 1);
    return { ram, operation: () => machine.tenure.leaveEmpty() };
  },
};

for (const isHandover of [true, false]) {
  const how = isHandover ? 'handed over' : 'left by a kernel that died';
  Object.assign(OPERATIONS, {
    [`retrieve of files ${how}`]: async () => {
      const { ram, machine } = first();
      await machine.kernel.luo.createSession('s').preserve(fileOf(machine, 1, 3), 1);
      if (isHandover) await handOver(machine);
      const owner = next(ram);
      const session = owner.kernel.luo.retrieveSession('s');
      return { ram, operation: () => session.retrieve(1).then(() => undefined) };
    },
    [`preserve of a file ${how}, again`]: async () => {
      const { ram, machine, files } = await second(isHandover);
      const session = machine.kernel.luo.createSession('s');
      return { ram, operation: () => session.preserve(files[0], 11) };
    },
    [`preserve of the last file ${how}, again`]: async () => {
      const { ram, machine, files } = await second(isHandover);
      const session = machine.kernel.luo.createSession('s');
      await session.preserve(files[0], 11);
      return { ram, operation: () => session.preserve(files[1], 12) };
    },
    [`finish of files ${how}`]: async () => {
      const { ram, machine } = await second(isHandover);
      const [session] = machine.kernel.luo.incomingSessions;
      return {
        ram,
        operation: async () => {
          await session.finish();
          machine.kernel.luo.flush();
        },
      };
    },
    [`finish of files ${how}, none of them retrieved`]: async () => {
      const { ram, machine } = first();
      await machine.kernel.luo.createSession('s').preserve(fileOf(machine, 1, 3), 1);
      if (isHandover) await handOver(machine);
      const owner = next(ram);
      const [session] = owner.kernel.luo.incomingSessions;
      return {
        ram,
        operation: async () => {
          await session.finish();
          owner.kernel.luo.flush();
        },
      };
    },
    [`finish and preserve of files ${how}`]: async () => {
      const { ram, machine, files } = await second(isHandover);
      const [before] = machine.kernel.luo.incomingSessions;
      const session = machine.kernel.luo.createSession('t');
      return {
        ram,
        operation: async () => {
          await before.finish();
          await session.preserveAll([
            [1, files[0]],
            [2, files[1]],
          ]);
        },
      };
    },
    [`a handover with files ${how} that are not finished`]: async () => {
      const { ram, machine, files } = await second(isHandover);
      await machine.kernel.luo.createSession('t').preserve(files[1], 12);
      return { ram, operation: () => handOver(machine) };
    },
    [`truncate of a file ${how}, and others in its memory`]: async () => {
      const { ram, machine, files } = await second(isHandover);
      return {
        ram,
        operation: () => {
          files[0].truncate(PAGE_SIZE);
          files[1].close();
          for (let byte = 50; byte < 60; byte++) fileOf(machine, byte, 3);
        },
      };
    },
  } satisfies typeof OPERATIONS);
}

describe('after every store of', () => {
  it.each(Object.entries(OPERATIONS))('%s', async (name, prepare) => {
    const prefixes = await everyPrefix(await prepare());
    expect(prefixes > 0).toBe(!name.startsWith('retrieve')); // which stores nothing
  });
});

describe('a recovery that dies itself', () => {
  it.each(['one preserve among others', 'close of a session', 'preserve of a file handed over, again'])(
    'at whatever store, in the midst of %s, changes nothing',
    async (name) => {
      const { ram, operation } = await OPERATIONS[name]();
      const image = ram.memory8.slice();
      const stores = await storesOf(ram.memory8.buffer, operation);
      let at = 0;
      await forEachPrefix(image, stores, async (now) => {
        if (at++ % 7 !== 0) return;
        const expected = await find(TestRam.of(now));
        const dying = TestRam.of(now);
        const base = dying.memory8.slice();
        const more = await storesOf(dying.memory8.buffer, () => void next(dying));
        await forEachPrefix(base, more, async (again) => {
          expect(await find(TestRam.of(again))).toBe(expected);
        });
      });
    },
  );
});

it('what a kernel had not published when it died is not published with the next change either', async () => {
  for (const name of ['one preserve among others', 'close of a session']) {
    const { ram, operation } = await OPERATIONS[name]();
    const image = ram.memory8.slice();
    const stores = await storesOf(ram.memory8.buffer, operation);
    await forEachPrefix(image, stores, async (now) => {
      const expected = await find(TestRam.of(now));
      const after = TestRam.of(now);
      next(after).kernel.luo.createSession('x');
      expect(await find(after)).toBe([...expected.split('; '), 'x: '].filter((text) => text).join('; '));
    });
  }
});

it('a crash loop pins nothing', async () => {
  const { ram, machine } = first();
  await machine.kernel.luo.createSession('s').preserve(fileOf(machine, 1, 3), 1);
  const free: number[] = [];
  for (let round = 0; round < 30; round++) {
    const owner = next(ram);
    const { luo, pages } = owner.kernel;
    const before = luo.retrieveSession('s');
    const file = await before.retrieve(1, ShmemFile);
    const session = luo.createSession('s');
    await session.preserve(file, 1);
    await session.preserve(fileOf(owner, 2, 5), 2);
    await session.unpreserve(2);
    free.push(pages.freePages);
  }
  expect(new Set(free.slice(2))).toEqual(new Set([free[2]]));
  const last = next(ram);
  expect(await describeIncoming(last)).toBe('s: 1=1x3');
  expect(untakenFrames(last)).toBe(0);
});
