/**
 * Files in memory: reading and writing them beside tmpfs, and preserving them at sizes from 64 MiB
 * to 16 GiB.
 */
import * as fs from 'node:fs';
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { bootKernel, type Kernel } from '@liveupdate/kexec';
import { MappedRam } from '@liveupdate/linux';
import type { ShmemFile } from '@liveupdate/shmem';
import { timed } from './baselines.ts';
import type { Figure } from './figure.ts';
import type { Trial } from './runner.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Bytes of the file that is written and read, at the most, and of a call. */
const WRITTEN = GIB;
const CALL = MIB;
/**
 * How many times as large as the smallest one the files are that are preserved to see how the time
 * grows.
 */
const TIMES = [1, 4, 16, 64, 256];

/** A kernel on RAM that nobody has touched, with room for a file and the records of its folios. */
function newKernel(size: number): { ram: MappedRam; kernel: Kernel } {
  const room = Math.ceil((size * 1.02 + 32 * MIB) / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
  const ram = MappedRam.anonymous({ name: 'liveupdate-bench', size: room });
  return { ram, kernel: bootKernel(ram, undefined, { freeMemory: 'zero' }) };
}

/**
 * A file is written from its start to its end and read again, in calls of 1 MiB: ours in RAM that
 * nobody touched and in RAM in use, and one on tmpfs.
 *
 * New memory is what the machine has just been given back, for both sides: each does all of it
 * twice, and the second time counts. In a virtual machine, memory that was free for some seconds
 * belongs to the host again, in pieces of 2 MiB, and who touches it first waits for the host.
 */
const sequential: Trial['prepare'] = ({ size }) => {
  const calls = Math.min(size, WRITTEN) / CALL;
  // 32 bytes on, because the system copies into memory 16 bytes behind the start of a page four
  // times slower on some processors.
  const chunk = new Uint8Array(CALL + 32).fill(0x5a).subarray(32);
  const path = `/dev/shm/liveupdate-bench-${process.pid}`;

  const inMachine = async ({ kernel }: { kernel: Kernel }): Promise<{ write: number; read: number }> => {
    const file = kernel.shmem.memfdCreate('bench');
    const write = await timed(() => {
      for (let i = 0; i < calls; i++) file.write(chunk);
    });
    file.seek(0);
    const read = await timed(() => {
      for (let i = 0; i < calls; i++) file.read(chunk);
    });
    file.close();
    return { write, read };
  };
  const ours = async (): Promise<Record<string, number>> => {
    const machine = newKernel(calls * CALL);
    const fresh = await inMachine(machine);
    const again = await inMachine(machine);
    machine.ram.close();
    return { write: again.write, read: again.read, firstWrite: fresh.write, firstRead: fresh.read };
  };
  const tmpfs = async (): Promise<Record<string, number>> => {
    const fd = fs.openSync(path, 'wx+');
    fs.unlinkSync(path);
    const writeSync = await timed(() => {
      for (let i = 0; i < calls; i++) fs.writeSync(fd, chunk, 0, CALL, i * CALL);
    });
    const readSync = await timed(() => {
      for (let i = 0; i < calls; i++) fs.readSync(fd, chunk, 0, CALL, i * CALL);
    });
    fs.closeSync(fd);
    return { writeSync, readSync };
  };
  const second = async (once: () => Promise<Record<string, number>>): Promise<Record<string, number>> => {
    await once();
    return once();
  };
  return {
    run: async (round) => {
      const order = round % 2 === 0 ? [tmpfs, ours] : [ours, tmpfs];
      const series: Record<string, number> = {};
      for (const side of order) Object.assign(series, await second(side));
      return series;
    },
    end: () => undefined,
  };
};

/**
 * Files that nobody wrote, so that they take records and no memory: what preserve does is the same.
 */
const growing: Trial['prepare'] = ({ size }) => {
  const smallest = size / 256;
  const preserveOnce = async (bytes: number): Promise<{ time: number; memory: number }> => {
    const { ram, kernel } = newKernel(bytes);
    const { luo, shmem, pages } = kernel;
    const file: ShmemFile = shmem.memfdCreate('bench');
    file.truncate(bytes);
    const session = luo.createSession('bench');
    await session.preserve(file, 1); // holes are filled, and the map of preserved pages made
    await session.unpreserve(1);
    const before = { free: pages.freePages, buffers: process.memoryUsage().arrayBuffers };
    const time = await timed(() => session.preserve(file, 1));
    const inRam = (before.free - pages.freePages) * PAGE_SIZE;
    const memory = inRam + Math.max(0, process.memoryUsage().arrayBuffers - before.buffers);
    ram.close();
    return { time, memory };
  };
  return {
    run: async () => {
      const series: Record<string, number> = {};
      for (const times of TIMES) {
        const bytes = smallest * times;
        const { time, memory } = await preserveOnce(bytes);
        const folios = bytes / PAGE_SIZE;
        series[`preserve-${times}`] = time;
        series[`per-million-${times}`] = (time / folios) * 1e6;
        series[`memory-${times}`] = memory;
        series[`records-${times}`] = folios * 16;
      }
      return series;
    },
    end: () => undefined,
  };
};

export const SHMEM_TRIALS: readonly Trial[] = [
  {
    name: 'calls',
    title: 'a file written and read in calls of 1 MiB, beside one on tmpfs',
    leastRounds: 15,
    memory: () => 2.2 * WRITTEN,
    prepare: sequential,
  },
  {
    name: 'folios',
    title: 'files from 64 MiB to 16 GiB, 4 KiB folios, preserved',
    sizes: 16 * GIB,
    rounds: 5,
    memory: () => GIB / 2, // nobody writes the files: they take records alone
    prepare: growing,
  },
];

const COPIED = { against: 'copy', kind: 'faster' } as const;

export const SHMEM_FIGURES: readonly Figure[] = [
  {
    trial: 'calls',
    title: 'write 1 GiB, RAM in use',
    measured: 'write',
    against: 'writeSync',
    kind: 'faster',
    goal: 1,
  },
  {
    trial: 'calls',
    title: 'write 1 GiB, RAM never touched',
    measured: 'firstWrite',
    against: 'writeSync',
    kind: 'faster',
    goal: 1,
  },
  { trial: 'calls', title: 'read 1 GiB', measured: 'read', against: 'readSync', kind: 'faster', goal: 1 },
  {
    trial: 'small',
    size: 4 * GIB,
    title: 'preserve 4 GiB, 4 KiB folios',
    measured: 'preserve',
    ...COPIED,
    goal: 50,
  },
  {
    trial: 'small',
    size: 4 * GIB,
    title: 'retrieve 4 GiB, 4 KiB folios',
    measured: 'retrieve',
    ...COPIED,
    goal: 50,
  },
  {
    trial: 'huge',
    size: 4 * GIB,
    title: 'preserve 4 GiB, 2 MiB folios',
    measured: 'preserve',
    ...COPIED,
    goal: 5000,
  },
  {
    trial: 'huge',
    size: 4 * GIB,
    title: 'retrieve 4 GiB, 2 MiB folios',
    measured: 'retrieve',
    ...COPIED,
    goal: 5000,
  },
  {
    trial: 'folios',
    title: 'preserve per folio, 16 GiB beside 1 GiB',
    measured: 'per-million-256',
    against: 'per-million-16',
    kind: 'longer',
    goal: 1.25,
  },
  {
    trial: 'folios',
    title: 'memory of a preserved file of 16 GiB, beside 16 bytes a folio',
    measured: 'memory-256',
    against: 'records-256',
    kind: 'share',
    goal: 101,
  },
];
