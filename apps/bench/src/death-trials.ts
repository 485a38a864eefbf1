/**
 * What it costs that nothing preserved is lost: publication, against the same without, and a
 * recovery after a death against a planned handover.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { bootKernel, type Kernel, type LeftKernel } from '@liveupdate/kexec';
import { MappedRam } from '@liveupdate/linux';
import type { OutgoingSession } from '@liveupdate/luo-core';
import { ShmemFile } from '@liveupdate/shmem';
import type { Figure } from './figure.ts';
import { collectGarbage } from './garbage.ts';
import type { Rounds, Trial } from './runner.ts';
import { middleOf } from './workload.ts';

/** Files that are preserved already, beside those that are measured. */
const MANY = 100_000;
const FEW = 5000;
/** Runs with a file smaller than this only show that everything works. */
const WHOLE_RUN = 2 ** 30;
/** Files that are preserved, each timed by itself, in a round. */
const SAMPLES = 4000;
/** Each is short, and in the first ones much is compiled. */
const PUBLICATION_ROUNDS = 21;
/** Half a microsecond in the median, 20 at the 99.9th percentile: what may be added, in ms. */
const MOST_MEDIAN = 0.0005;
const MOST_TAIL = 0.02;
/** A difference below zero is noise: less than the clock tells apart. */
const LEAST = 0.000_01;
/** What a generation of files needs beside their bytes, at most. */
const BESIDE = 1.25;
const GiB = 2 ** 30;

interface Crowd {
  readonly kernel: Kernel;
  readonly session: OutgoingSession;
  readonly files: readonly ShmemFile[];
}

async function crowd(ram: MappedRam, publish: boolean, others: number): Promise<Crowd> {
  const kernel = bootKernel(ram, undefined, { publish, freeMemory: 'discard' });
  const fileOf = (): ShmemFile => {
    const file = kernel.shmem.memfdCreate('one');
    file.write(new Uint8Array(PAGE_SIZE));
    return file;
  };
  const session = kernel.luo.createSession('s');
  for (let i = 0; i < others; i++) await session.preserve(fileOf(), SAMPLES + i);
  return { kernel, session, files: Array.from({ length: SAMPLES }, fileOf) };
}

/** Milliseconds of each preserve; what was preserved is taken back. */
async function sample({ session, files }: Crowd, times: Float64Array): Promise<void> {
  for (const [i, file] of files.entries()) {
    const start = performance.now();
    await session.preserve(file, i);
    times[i] = performance.now() - start;
  }
  for (const i of files.keys()) await session.unpreserve(i);
  times.sort();
}

const at = (times: Float64Array, share: number): number => times[Math.floor(times.length * share)];

/** The same files in two kernels, of which one publishes; they take turns. */
function publication(others: (isWhole: boolean) => number): Trial['prepare'] {
  return async ({ size }): Promise<Rounds> => {
    const count = others(size >= WHOLE_RUN);
    const rams = [0, 1].map(() =>
      MappedRam.anonymous({ name: 'liveupdate-bench', size: GiB + 4 * count * 4 * PAGE_SIZE }),
    );
    const [published, plain] = [await crowd(rams[0], true, count), await crowd(rams[1], false, count)];
    const times = { published: new Float64Array(SAMPLES), plain: new Float64Array(SAMPLES) };
    return {
      run: async (round) => {
        for (const isPublished of round % 2 === 0 ? [true, false] : [false, true])
          await sample(isPublished ? published : plain, isPublished ? times.published : times.plain);
        return {
          preserve: at(times.published, 0.5),
          plainPreserve: at(times.plain, 0.5),
          added: Math.max(LEAST, at(times.published, 0.5) - at(times.plain, 0.5)),
          addedTail: Math.max(LEAST, at(times.published, 0.999) - at(times.plain, 0.999)),
          mostAdded: MOST_MEDIAN,
          mostAddedTail: MOST_TAIL,
        };
      },
      end: () => {
        for (const ram of rams) ram.close();
      },
    };
  };
}

interface ComeBack {
  readonly kernel: Kernel;
  /** Milliseconds from the boot to the first page. */
  readonly time: number;
}

/**
 * Boots from what was left, retrieves the file, reads a page in its midst, and preserves it again.
 */
async function comeBack(ram: MappedRam, left: LeftKernel, size: number): Promise<ComeBack> {
  const page = new Uint8Array(PAGE_SIZE);
  const start = performance.now();
  const kernel = bootKernel(ram, left);
  const { luo } = kernel;
  const before = luo.retrieveSession('s');
  const file = await before.retrieve(1, ShmemFile);
  file.pread(page, middleOf(size));
  const time = performance.now() - start;
  kernel.commit();
  await luo.createSession('s').preserve(file, 1);
  await before.finish();
  luo.flush();
  return { kernel, time };
}

async function recovery({ size }: { readonly size: number }): Promise<Rounds> {
  const ram = MappedRam.anonymous({
    name: 'liveupdate-bench',
    size: Math.ceil((size * BESIDE) / PAGE_SIZE) * PAGE_SIZE + 64 * 2 ** 20,
  });
  const { kho, luo, shmem } = bootKernel(ram, undefined, { publish: true, freeMemory: 'zero' });
  const file = shmem.memfdCreate('state');
  file.allocate(0, size);
  const chunk = new Uint8Array(16 * 2 ** 20).fill(7);
  for (let done = 0; done < size; done += chunk.length) file.pwrite(chunk.subarray(0, size - done), done);
  await luo.createSession('s').preserve(file, 1);
  const live = kho.publication?.pa;
  return {
    run: async () => {
      collectGarbage();
      const dead = await comeBack(ram, { live }, size); // the kernel before did nothing more
      await dead.kernel.luo.reboot();
      dead.kernel.kho.recordResidency();
      const { entry } = dead.kernel.kho;
      collectGarbage();
      const handed = await comeBack(ram, { entry, live }, size);
      return { recovery: dead.time, handover: handed.time };
    },
    end: () => {
      ram.close();
    },
  };
}

export const DEATH_TRIALS: readonly Trial[] = [
  {
    name: 'publication',
    title: 'preserve of a small file, published for whoever comes after a death',
    leastRounds: PUBLICATION_ROUNDS,
    prepare: publication(() => 0),
  },
  {
    name: 'publication-many',
    title: 'the same beside 100,000 files',
    leastRounds: PUBLICATION_ROUNDS,
    memory: () => 6 * GiB,
    prepare: publication((isWhole) => (isWhole ? MANY : FEW)),
  },
  {
    name: 'recovery',
    title: 'a recovery after a death, against a planned handover',
    sizes: 16 * GiB,
    memory: (size) => size * BESIDE,
    prepare: recovery,
  },
];

export const DEATH_FIGURES: readonly Figure[] = [
  ...['publication', 'publication-many'].flatMap((trial): Figure[] => {
    const beside = trial === 'publication' ? 'alone' : 'beside 100,000 others';
    return [
      {
        trial,
        title: `what publication adds to a preserve, ${beside}: the median, against 0.5 µs`,
        measured: 'added',
        against: 'mostAdded',
        kind: 'longer',
        goal: 1,
      },
      {
        trial,
        title: `what publication adds to a preserve, ${beside}: the 99.9th percentile, against 20 µs`,
        measured: 'addedTail',
        against: 'mostAddedTail',
        kind: 'longer',
        goal: 1,
      },
    ];
  }),
  {
    trial: 'recovery',
    title: 'recovery after a kill, against a handover',
    measured: 'recovery',
    against: 'handover',
    kind: 'longer',
    goal: 1.1,
    goalSize: 16 * GiB,
  },
];
