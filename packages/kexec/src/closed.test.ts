/**
 * A machine that has ended: whatever a program still holds of it answers EBADF, and harms nobody.
 */
import { codeOf } from '@liveupdate/base';
import type { Kho } from '@liveupdate/kho';
import type { FileHandler, IncomingSession, OutgoingSession } from '@liveupdate/luo-core';
import type { ShmemFile, ShmemMapping } from '@liveupdate/shmem';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Machine } from './machine.ts';
import { removeRam, testName } from './test-process.ts';

const SIZE = 16 * 2 ** 20;

let name: string;

beforeEach(() => {
  name = testName();
});

afterEach(() => {
  removeRam(name);
});

/** What a program holds of a machine. */
interface Held {
  readonly machine: Machine;
  readonly empty: ShmemFile;
  readonly full: ShmemFile;
  readonly preserved: ShmemFile;
  readonly mapping: ShmemMapping;
  readonly session: OutgoingSession;
  readonly incoming: IncomingSession;
  /** Preserved. */
  readonly page: number;
}

async function held(): Promise<Held> {
  const before = await Machine.open({ name, size: SIZE });
  await before.kernel.luo.createSession('before').preserve(before.kernel.shmem.memfdCreate('f'), 1);
  await before.handOver();
  const machine = await Machine.open({ name, keepHandover: true });
  const { shmem, luo } = machine.kernel;
  const make = (length: number): ShmemFile => {
    const file = shmem.memfdCreate('f');
    file.write(new Uint8Array(length).fill(1));
    return file;
  };
  const [empty, full, preserved] = [make(0), make(100_000), make(5000)];
  shmem.create('named').close();
  const session = luo.createSession('s');
  await session.preserve(preserved, 1);
  const mapping = full.map();
  const incoming = luo.retrieveSession('before');
  const page = machine.kernel.kho.allocPreserve(8).pa;
  return { machine, empty, full, preserved, mapping, session, incoming, page };
}

const ENDS: [string, (machine: Machine) => unknown][] = [
  ['close()', (machine) => machine.close()],
  ['abandon()', (machine) => machine.abandon()],
  ['remove()', (machine) => machine.remove()],
  ['handOver()', (machine) => machine.handOver()],
];

const onFile = (work: (file: ShmemFile) => unknown): [(held: Held) => unknown][] => [
  [({ empty }) => work(empty)],
  [({ full }) => work(full)],
  [({ preserved }) => work(preserved)],
];

const CALLS: Record<string, [(held: Held) => unknown][]> = {
  memfdCreate: [[({ machine }) => machine.kernel.shmem.memfdCreate('f')]],
  create: [[({ machine }) => machine.kernel.shmem.create('another')]],
  open: [[({ machine }) => machine.kernel.shmem.open('named')]],
  link: [[({ machine }) => machine.kernel.shmem.link('named', 'more')]],
  unlink: [[({ machine }) => machine.kernel.shmem.unlink('named')]],
  read: onFile((file) => file.read(new Uint8Array(5))),
  pread: onFile((file) => file.pread(new Uint8Array(5), 0)),
  preadv: onFile((file) => file.preadv([new Uint8Array(5)], 0)),
  write: onFile((file) => file.write(new Uint8Array(5))),
  pwrite: onFile((file) => file.pwrite(new Uint8Array(5), 0)),
  pwritev: onFile((file) => file.pwritev([new Uint8Array(5)], 0)),
  truncate: onFile((file) => file.truncate(0)),
  'truncate to more': onFile((file) => file.truncate(1_000_000)),
  allocate: onFile((file) => file.allocate(0, 5000)),
  fallocate: onFile((file) => file.fallocate(3, 0, 4096)),
  seek: onFile((file) => file.seek(0)),
  stat: onFile((file) => file.stat()),
  map: onFile((file) => file.map()),
  'map, sparse': onFile((file) => file.map({ sparse: true })),
  reopen: onFile((file) => file.reopen()),
  addSeals: onFile((file) => file.addSeals(2)),
  adviseHuge: onFile((file) => file.adviseHuge()),
  get: onFile((file) => file.get()),
  preserve: [[({ session, full }) => session.preserve(full, 2)]],
  preserveAll: [[({ session, full }) => session.preserveAll([[2, full]])]],
  unpreserve: [[({ session }) => session.unpreserve(1)]],
  'close of a session': [[({ session }) => session.close()]],
  retrieve: [[({ incoming }) => incoming.retrieve(1)]],
  finish: [[({ incoming }) => incoming.finish()]],
  createSession: [[({ machine }) => machine.kernel.luo.createSession('t')]],
  retrieveSession: [[({ machine }) => machine.kernel.luo.retrieveSession('before')]],
  reboot: [[({ machine }) => machine.kernel.luo.reboot()]],
  'kho.allocPreserve': [[({ machine }) => machine.kernel.kho.allocPreserve(8)]],
  'kho.allocPreservePages': [[({ machine }) => machine.kernel.kho.allocPreservePages(1)]],
  'kho.unpreserveFree': [[({ page, machine }) => machine.kernel.kho.unpreserveFree(page)]],
  'fds.keep': [[({ machine }) => machine.kernel.fds?.keep(2)]],
  'fds.take': [[({ machine }) => machine.kernel.fds?.take(64)]],
  cancelReboot: [[({ machine }) => machine.kernel.luo.cancelReboot()]],
  kexec: [[({ machine }) => machine.kexec()]],
  handOver: [[({ machine }) => machine.handOver()]],
};

/** The codes of all calls that are not EBADF. */
async function strange(of: Held, calls = CALLS): Promise<string[]> {
  const found: string[] = [];
  for (const [call, each] of Object.entries(calls))
    for (const [work] of each) {
      const code = await new Promise((resolve) => {
        resolve(work(of));
      }).then(
        () => 'ok',
        (error: unknown) => codeOf(error),
      );
      if (code !== 'EBADF') found.push(`${call}: ${code}`);
    }
  return found;
}

describe.each(ENDS)('after %s', (_, end) => {
  test('every call on what is left is EBADF; files are closed in peace, views are empty', async () => {
    const all = await held();
    await end(all.machine);
    expect(await strange(all)).toEqual([]);
    expect(all.mapping.bytes.length).toBe(0);
    all.mapping.unmap();
    for (const file of [all.empty, all.full, all.preserved]) file.close();
    all.machine.close(); // a second end does nothing
    expect(all.machine.kernel.luo.state).toBe('ended');
  });
});

test('a machine that runs answers none of them so', async () => {
  const all = await held();
  const calls = { ...CALLS, kexec: [] }; // which would replace this process
  const codes = await strange(all, calls);
  all.machine.close();
  expect(codes.length).toBeGreaterThan(40);
});

test('where nobody had read what came, it is EBADF too, and not EIO', async () => {
  const before = await Machine.open({ name, size: SIZE });
  await before.handOver();
  const machine = await Machine.open({ name });
  const { luo } = machine.kernel;
  machine.close();
  for (const read of [() => luo.incomingSessions, () => luo.liveupdateNumber, () => luo.retrieveSession('s')])
    expect(read).toThrow(expect.objectContaining({ code: 'EBADF' }));
});

describe('what waits for a handler while its machine is closed is EBADF', () => {
  /** A handler whose callbacks wait until they are let go. */
  const waiting = (kho: Kho, gate: Promise<void>): FileHandler => {
    const after = async <T>(work: () => T): Promise<T> => {
      await gate;
      return work();
    };
    return {
      compatible: 'waiting-v1',
      canPreserve: (file): file is object => !('inode' in file),
      preserve: () => after(() => ({ data: kho.allocPreserve(8).pa })),
      unpreserve: ({ data }) => after(() => kho.unpreserveFree(data)),
      freeze: () => after(() => undefined),
      retrieve: () => after(() => ({})),
      finish: () => after(() => undefined),
    };
  };

  test.each(['close', 'remove'] as const)('%s()', async (end) => {
    let open = (): void => undefined;
    let gate = Promise.resolve();
    const handlers = ({ kho }: { kho: Kho }): FileHandler[] => [
      waiting(kho, new Promise((resolve) => void gate.then(resolve))),
    ];
    const first = await Machine.open({ name, size: SIZE, handlers });
    const session = first.kernel.luo.createSession('s');
    await session.preserve({}, 1);
    await session.preserve({}, 2);
    await first.handOver();
    gate = new Promise((resolve) => {
      open = resolve;
    });
    const machine = await Machine.open({ name, handlers });
    const { luo } = machine.kernel;
    const incoming = luo.retrieveSession('s');
    const outgoing = luo.createSession('t');
    const calls = [
      incoming.retrieve(1),
      outgoing.preserve({}, 1),
      outgoing.preserveAll([[2, {}]]),
      incoming.finish(),
      outgoing.close(),
    ].map((call) => call.then(() => 'ok', codeOf));
    machine[end]();
    open();
    // A session without files has nothing left to do.
    expect(await Promise.all(calls)).toEqual(['EBADF', 'EBADF', 'EBADF', 'EBADF', 'EBADF']);
    expect(outgoing.fileCount).toBe(0);
  });
});

test('a worker thread opens no machine: EPERM, and no file is made', async () => {
  const source = `
    import { parentPort, workerData } from 'node:worker_threads';
    const { Machine } = await import(workerData.module);
    const made = Machine.open({ name: workerData.name, size: '16MiB' });
    parentPort.postMessage(await made.then(() => 'ok', (error) => error.code + ': ' + error.message));
  `;
  const module = new URL('./index.ts', import.meta.url).href;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: { module, name },
  });
  const said = await new Promise<unknown>((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
  await worker.terminate();
  expect(said).toMatch(/^EPERM: .*main thread/);
  await expect(Machine.open({ name })).rejects.toMatchObject({ code: 'ENOENT' });
});
