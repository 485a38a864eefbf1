/**
 * Of the device, what only ours can show: memory and references, damage, and failures made for the
 * test. What it answers is in test-device-scenarios.ts, for the real one too.
 */
import { boot } from '@liveupdate/kho';
import { beforeEach, describe, expect, test } from 'vitest';
import { ProcessDescriptors } from './descriptors.ts';
import { LiveUpdateDevice } from './device.ts';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import { coldKernel, Counter, nextKernel, outcome, snapshot, start, type TestKernel } from './test-kernel.ts';
import { copyOf, handedOver, writeWord } from './test-records.ts';

// Written out, not taken from uapi.ts: these are the numbers and offsets that programs on Linux are
// compiled with.
const CREATE_SESSION = 0xba00;
const RETRIEVE_SESSION = 0xba01;
const PRESERVE_FD = 0xba40;
const RETRIEVE_FD = 0xba41;
const FINISH = 0xba42;
const GET_NAME = 0xba43;

/** A structure of `size` bytes that says so. */
function struct(
  size: number,
  fill: (view: DataView, bytes: Uint8Array) => void = () => undefined,
): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, size, true);
  fill(view, bytes);
  return bytes;
}

const named = (name: string | Uint8Array, size = 72): Uint8Array =>
  struct(size, (_, bytes) => {
    bytes.set(typeof name === 'string' ? new TextEncoder().encode(name) : name, 8);
  });
const fileAt = (fd: number, token: bigint | number, size = 16): Uint8Array =>
  struct(size, (view) => {
    view.setInt32(4, fd, true);
    view.setBigUint64(8, BigInt(token), true);
  });
const fdIn = (argument: Uint8Array): number => new DataView(argument.buffer).getInt32(4, true);

let kernel: TestKernel;
let table: ProcessDescriptors;
let device: LiveUpdateDevice;
let fd: number;
beforeEach(() => {
  kernel = coldKernel();
  table = new ProcessDescriptors();
  device = new LiveUpdateDevice(kernel.luo);
  fd = device.open(table);
});

const ioctl = (of: number, request: number, argument: Uint8Array): Promise<void> =>
  device.ioctl(table, of, request, argument);
const codeOf = (of: number, request: number, argument: Uint8Array): Promise<string> =>
  outcome(() => ioctl(of, request, argument));

async function create(name: string): Promise<number> {
  const argument = named(name);
  await ioctl(fd, CREATE_SESSION, argument);
  return fdIn(argument);
}

const install = (file: object): number => table.install(file, { closeOnExec: false });

/** The next kernel; its device is open. */
async function handOver(): Promise<void> {
  await kernel.luo.reboot();
  kernel = nextKernel(kernel);
  table = new ProcessDescriptors();
  device = new LiveUpdateDevice(kernel.luo);
  fd = device.open(table);
}

async function retrieveSession(name: string): Promise<number> {
  const argument = named(name);
  await ioctl(fd, RETRIEVE_SESSION, argument);
  return fdIn(argument);
}

describe('open', () => {
  test('is exclusive until the last descriptor is closed, and survives its sessions as they survive it', async () => {
    expect(await outcome(() => device.open(table))).toBe('EBUSY');
    expect(await outcome(() => device.open(new ProcessDescriptors()))).toBe('EBUSY');
    const copy = table.dup(fd);
    const session = await create('s');
    await table.close(fd);
    expect(await outcome(() => device.open(table))).toBe('EBUSY');
    await table.close(copy);
    const again = device.open(table);
    expect(again).toBe(fd); // the lowest number
    const name = struct(72);
    await ioctl(session, GET_NAME, name);
    expect(Buffer.from(name.subarray(8)).toString('latin1')).toBe(`s${'\0'.repeat(63)}`);
    await table.close(again);
    await table.close(session);
    expect([kernel.luo.outgoingSessions, table.numbers]).toEqual([[], []]);
  });

  test('without a free number the device stays closed', async () => {
    await table.close(fd);
    expect(await outcome(() => device.open(new ProcessDescriptors(3)))).toBe('EMFILE');
    expect(device.open(table)).toBe(fd);
  });

  test('reads the incoming state; a failure is EIO, now and for ever, and never EBUSY', async () => {
    const original = await handedOver();
    const { ram, pa } = copyOf(original);
    writeWord(ram, pa.sessions + 8, 0); // a block without entries
    const { luo } = start(boot(ram, original.entry, { freeMemory: 'keep' }));
    const damaged = new LiveUpdateDevice(luo);
    for (let i = 0; i < 3; i++) expect(await outcome(() => damaged.open(table))).toBe('EIO');
    writeWord(ram, pa.sessions + 8, 2);
    expect(await outcome(() => damaged.open(table))).toBe('EIO');
    expect(table.numbers).toEqual([fd]);
  });

  test('a record without a handler is EIO', async () => {
    const original = await handedOver();
    const { ram } = copyOf(original);
    const luo = new LiveUpdateOrchestrator({ kho: boot(ram, original.entry, { freeMemory: 'keep' }) });
    expect(await outcome(() => new LiveUpdateDevice(luo).open(table))).toBe('EIO');
  });

  test('where live update is off there is no device', async () => {
    const luo = new LiveUpdateOrchestrator({ kho: kernel.kho, enabled: false });
    expect(await outcome(() => new LiveUpdateDevice(luo).open(table))).toBe('ENODEV');
  });
});

test('what is no number of a descriptor is EBADF', async () => {
  expect(await codeOf(install(new Counter(1)), CREATE_SESSION, named('s'))).toBe('ENOTTY');
  for (const none of [99, -1, 0.5]) expect(await codeOf(none, CREATE_SESSION, named('s'))).toBe('EBADF');
});

describe('structures that may grow', () => {
  /** Each command, with an argument of any size that would do. */
  const commands: [string, number, number, (size: number) => Uint8Array][] = [
    ['create session', CREATE_SESSION, 72, (size) => named('t', size)],
    ['retrieve session', RETRIEVE_SESSION, 72, (size) => named('before', size)],
    ['preserve fd', PRESERVE_FD, 16, (size) => fileAt(install(new Counter(5)), 5, size)],
    ['retrieve fd', RETRIEVE_FD, 16, (size) => fileAt(0, 1, size)],
    ['finish', FINISH, 8, (size) => struct(size)],
    ['get name', GET_NAME, 72, (size) => struct(size)],
  ];

  /** The descriptor that the command is for, in a kernel that has sessions of both kinds. */
  async function target(request: number): Promise<number> {
    for (const name of ['s', 'before']) {
      const session = await create(name);
      await ioctl(session, PRESERVE_FD, fileAt(install(new Counter(1)), 1));
    }
    await handOver();
    if (request === CREATE_SESSION || request === RETRIEVE_SESSION) return fd;
    return request === PRESERVE_FD ? create('s') : retrieveSession('s');
  }

  test.each(commands)('%s', async (_, request, known, argument) => {
    const of = await target(request);
    const said = (size: number, bytes: Uint8Array): Uint8Array => {
      new DataView(bytes.buffer).setUint32(0, size, true);
      return bytes;
    };
    const before = snapshot(kernel.kho);
    for (const size of [0, 3]) expect(await codeOf(of, request, new Uint8Array(size))).toBe('EFAULT');
    for (const size of [0, 4, known - 1])
      expect(await codeOf(of, request, said(size, argument(known)))).toBe('EINVAL');
    expect(await codeOf(of, request, said(known + 1, argument(known)))).toBe('EFAULT');
    expect(
      await codeOf(
        of,
        request,
        said(
          known,
          argument(known)
            .subarray(0, known - 1)
            .slice(),
        ),
      ),
    ).toBe('EFAULT');
    for (const at of [known, known + 7, known + 4095]) {
      const larger = argument(known + 4096);
      larger[at] = 1;
      expect(await codeOf(of, request, larger)).toBe('E2BIG');
    }
    expect(snapshot(kernel.kho)).toBe(before);
    // Zeros beyond are nothing; so is what lies beyond the size that is said.
    const larger = argument(known + 4096);
    larger[known + 100] = 1;
    expect(await codeOf(of, request, said(known + 100, larger))).toBe('ok');
  });

  test.each([FINISH, GET_NAME])('a reserved field that is not 0 (0x%x)', async (request) => {
    const of = await target(request);
    const argument = struct(72, (view) => view.setUint32(4, 1, true));
    expect(await codeOf(of, request, argument.subarray(0, 72))).toBe('EINVAL');
    expect(kernel.luo.incomingSessions.map(({ fileCount }) => fileCount)).toEqual([1, 1]);
  });
});

test('a name that is refused leaves no descriptor', async () => {
  for (const name of ['', 'x'.repeat(64), Uint8Array.of(0x61, 0xff)]) {
    expect(await codeOf(fd, CREATE_SESSION, named(name))).toBe('EINVAL');
    expect(await codeOf(fd, RETRIEVE_SESSION, named(name))).toBe('ENOENT');
  }
  expect([table.numbers, kernel.luo.outgoingSessions]).toEqual([[fd], []]);
});

describe('descriptors', () => {
  test('where none is free, nothing is made or retrieved', async () => {
    await ioctl(await create('s'), PRESERVE_FD, fileAt(install(new Counter(1)), 1));
    await handOver();
    const other = new ProcessDescriptors(4);
    await table.close(fd);
    table = other;
    fd = device.open(other);
    for (const request of [CREATE_SESSION, RETRIEVE_SESSION])
      expect(await codeOf(fd, request, named('s'))).toBe('EMFILE');
    expect(kernel.luo.outgoingSessions).toEqual([]);
    table = new ProcessDescriptors(5);
    await other.close(fd);
    fd = device.open(table);
    const session = await retrieveSession('s'); // not retrieved before
    expect(await codeOf(session, RETRIEVE_FD, fileAt(0, 1))).toBe('EMFILE');
    await table.close(fd);
    const argument = fileAt(0, 1);
    await ioctl(session, RETRIEVE_FD, argument);
    const counter = table.get(fdIn(argument));
    if (!(counter instanceof Counter)) throw new Error('the descriptor is of no counter');
    expect([counter.value, counter.references]).toEqual([1, 2]); // the table's and LUO's
    await table.close(session);
    await table.close(fdIn(argument));
    expect(counter.references).toBe(0);
  });

  test('a file in a session lives on when its descriptor is closed', async () => {
    const counter = new Counter(7);
    const at = install(counter);
    const session = await create('s');
    await ioctl(session, PRESERVE_FD, fileAt(at, 1));
    await table.close(at);
    expect(counter.references).toBe(1);
    await table.close(session);
    expect(counter.references).toBe(0);
  });

  test('the order of checks: the token, room, the descriptor, then the handler', async () => {
    const session = await create('s');
    for (let token = 1; token <= 63; token++)
      await ioctl(session, PRESERVE_FD, fileAt(install(new Counter(token)), token));
    expect(await codeOf(session, PRESERVE_FD, fileAt(999, 1))).toBe('EEXIST');
    kernel.kho.pages.beforeAllocation = () => {
      throw Object.assign(new Error('no memory'), { code: 'ENOMEM' });
    };
    await expect(ioctl(session, PRESERVE_FD, fileAt(999, 64))).rejects.toThrow('no memory');
    kernel.kho.pages.beforeAllocation = undefined;
    expect(await codeOf(session, PRESERVE_FD, fileAt(999, 64))).toBe('EBADF');
    expect(await codeOf(session, PRESERVE_FD, fileAt(fd, 64))).toBe('ENOENT'); // the device is a file, of no handler
    expect(await codeOf(session, PRESERVE_FD, fileAt(session, 64))).toBe('ENOENT');
    expect(kernel.luo.outgoingSessions[0].fileCount).toBe(63);
    await table.close(session); // asking for it has left no reference
    expect(kernel.luo.outgoingSessions).toEqual([]);
  });

  test('sessions are closed by exec, the device is not', async () => {
    await create('s');
    await table.exec();
    expect([table.numbers, kernel.luo.outgoingSessions]).toEqual([[fd], []]);
  });

  test('the session of a refused close stays, without a descriptor', async () => {
    await ioctl(await create('s'), PRESERVE_FD, fileAt(install(new Counter(1)), 1));
    await handOver();
    kernel.script.mayFinish = () => false;
    const session = await retrieveSession('s');
    expect(await outcome(() => table.close(session))).toBe('EBUSY');
    expect(await codeOf(session, GET_NAME, struct(72))).toBe('EBADF');
    expect(await codeOf(fd, RETRIEVE_SESSION, named('s'))).toBe('EINVAL'); // retrieved already
    expect(kernel.luo.incomingSessions.map(({ fileCount }) => fileCount)).toEqual([1]);
    // The next handover drops it.
    kernel.script.mayFinish = undefined;
    await handOver();
    expect(kernel.luo.incomingSessions).toEqual([]);
  });

  test('while the handover is on its way nothing can be made or closed', async () => {
    const session = await create('s');
    await kernel.luo.reboot();
    expect(await codeOf(fd, CREATE_SESSION, named('t'))).toBe('EBUSY');
    expect(await codeOf(session, PRESERVE_FD, fileAt(install(new Counter(1)), 1))).toBe('EBUSY');
    await table.close(session); // its number is free, and the session is handed over
    expect(kernel.luo.outgoingSessions.map(({ name, state }) => [name, state])).toEqual([['s', 'open']]);
    kernel = nextKernel(kernel);
    expect(kernel.luo.incomingSessions.map(({ name }) => name)).toEqual(['s']);
  });

  describe('a session whose last descriptor is closed during a handover that is called off', () => {
    test('is closed then: its files are unpreserved, and its name is free', async () => {
      const counter = install(new Counter(1));
      const session = await create('s');
      const copy = table.dup(session);
      await ioctl(session, PRESERVE_FD, fileAt(counter, 1));
      const kept = await create('kept');
      const reboot = kernel.luo.reboot();
      await table.close(session); // while files are being frozen
      await reboot;
      await table.close(copy);
      await table.close(table.dup(kept)); // not its last one
      expect(kernel.luo.outgoingSessions).toHaveLength(2);
      await kernel.luo.cancelReboot();
      expect(kernel.luo.outgoingSessions.map(({ name }) => name)).toEqual(['kept']);
      const again = await create('s');
      await ioctl(again, PRESERVE_FD, fileAt(counter, 1));
    });

    test('is finished then, where it is of the previous kernel', async () => {
      await ioctl(await create('s'), PRESERVE_FD, fileAt(install(new Counter(1)), 1));
      await handOver();
      const session = await retrieveSession('s');
      await kernel.luo.reboot();
      await table.close(session);
      expect(kernel.luo.incomingSessions).toHaveLength(1);
      await kernel.luo.cancelReboot();
      expect(kernel.luo.incomingSessions).toEqual([]);
    });

    test('is closed too where a freeze fails', async () => {
      const session = await create('s');
      await ioctl(session, PRESERVE_FD, fileAt(install(new Counter(1)), 1));
      const thrown = new Error('not now');
      kernel.script.failOnce('freeze', thrown, 1);
      const refused = expect(kernel.luo.reboot()).rejects.toBe(thrown);
      await table.close(session);
      await refused;
      expect(kernel.luo.outgoingSessions).toEqual([]);
    });

    test('keeps what cannot be unpreserved, and the failure is told', async () => {
      const thrown = new Error('cannot');
      const session = await create('s');
      await ioctl(session, PRESERVE_FD, fileAt(install(new Counter(1)), 1));
      await kernel.luo.reboot();
      kernel.script.failOnce('unpreserve', thrown, 1);
      await table.close(session);
      await expect(kernel.luo.cancelReboot()).rejects.toBe(thrown);
      expect(kernel.luo.state).toBe('running');
      await kernel.luo.outgoingSessions[0].close();
    });
  });
});
