/**
 * What KHO and the page allocator cost per page, without any file: bookkeeping on memory that
 * nobody touches. Beside it the way that one would write first: an object for each page, a 64-bit
 * key for each page.
 */
import { PAGE_SIZE, Prng } from '@liveupdate/base';
import { bootCold, bootHandover, readHandover, type Kho } from '@liveupdate/kho';
import { SparseRam } from '@liveupdate/mm';
import { timed } from './baselines.ts';
import type { Figure } from './figure.ts';
import { collectGarbage } from './garbage.ts';
import type { Trial } from './runner.ts';
import { summarize } from './stats.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** Nanoseconds that a page may cost. */
const MOST = {
  allocate: 5,
  preserve: 3,
  unpreserve: 3,
  boot: 3,
  preserveAny: 60,
  unpreserveAny: 60,
} as const;
type Step = keyof typeof MOST;

/** RAM of zeros that takes no memory until it is touched, with room for what KHO itself needs. */
function coldMachine(bytes: number): Kho {
  const size = bytes + Math.ceil(bytes / 32 / MiB) * MiB + 64 * MiB;
  return bootCold(new SparseRam(size), { freeMemory: 'zero' });
}

function bootNext({ ram, entry }: Kho): void {
  bootHandover(ram, readHandover(ram, entry), { freeMemory: 'keep' });
}

/** The same numbers in random order, from a seed. */
function shuffled(pfns: Uint32Array, seed: number): Uint32Array {
  const random = new Prng(seed);
  const any = pfns.slice();
  for (let i = any.length - 1; i > 0; i--) {
    const other = random.below(i + 1);
    [any[i], any[other]] = [any[other], any[i]];
  }
  return any;
}

/** Page by page, in objects and 64-bit integers. */
class NaiveKho {
  readonly pages = new Map<number, { refs: number; order: number; preserved: boolean }>();
  readonly keys = new Set<bigint>();

  allocate(pfns: Uint32Array): void {
    for (const pfn of pfns) this.pages.set(pfn, { refs: 1, order: 0, preserved: false });
  }

  preserve(pfns: Uint32Array): void {
    for (const pfn of pfns) {
      const page = this.pages.get(pfn);
      if (!page || page.preserved) throw new Error(`page ${pfn} cannot be preserved`);
      this.keys.add((1n << 52n) | BigInt(pfn));
      page.preserved = true;
    }
  }

  unpreserve(pfns: Uint32Array): void {
    for (const pfn of pfns) {
      const page = this.pages.get(pfn);
      if (!page || !this.keys.delete((1n << 52n) | BigInt(pfn)))
        throw new Error(`page ${pfn} is not preserved`);
      page.preserved = false;
    }
  }

  boot(): NaiveKho {
    const next = new NaiveKho();
    for (const key of this.keys)
      next.pages.set(Number(key & ((1n << 52n) - 1n)), { refs: 0, order: 0, preserved: false });
    return next;
  }
}

/**
 * Times that a step is done in a round; its median counts. A step takes less than a millisecond:
 * once would measure whatever else goes on.
 */
const TIMES = 9;

async function measureOurs(count: number, seed: number): Promise<Record<Step, number>> {
  const kho = coldMachine(count * PAGE_SIZE);
  const { pages } = kho;
  const pfns = new Uint32Array(count);
  let any: Uint32Array = pfns;
  const times: Record<Step, number[]> = {
    allocate: [],
    preserve: [],
    unpreserve: [],
    boot: [],
    preserveAny: [],
    unpreserveAny: [],
  };
  const measure = async (step: Step, work: () => void): Promise<void> => {
    times[step].push(await timed(work));
  };
  for (let i = 0; i < TIMES; i++) {
    if (i > 0) pages.putBulk(pfns);
    await measure('allocate', () => {
      pages.allocBulk(pfns, 0, count);
    });
    if (i === 0) any = shuffled(pfns, seed);
    await measure('preserve', () => {
      kho.preserveFolios(pfns);
    });
    await measure('boot', () => {
      bootNext(kho);
    });
    await measure('unpreserve', () => {
      kho.unpreserveFolios(pfns);
    });
    await measure('preserveAny', () => {
      kho.preserveFolios(any);
    });
    await measure('unpreserveAny', () => {
      kho.unpreserveFolios(any);
    });
  }
  const median = (step: Step): number => summarize(times[step]).median;
  return {
    allocate: median('allocate'),
    preserve: median('preserve'),
    unpreserve: median('unpreserve'),
    boot: median('boot'),
    preserveAny: median('preserveAny'),
    unpreserveAny: median('unpreserveAny'),
  };
}

async function measureNaive(count: number, seed: number): Promise<Record<Step, number>> {
  const naive = new NaiveKho();
  const pfns = Uint32Array.from({ length: count }, (_, i) => 4096 + i);
  const allocate = await timed(() => {
    naive.allocate(pfns);
  });
  const any = shuffled(pfns, seed);
  const preserve = await timed(() => {
    naive.preserve(pfns);
  });
  const unpreserve = await timed(() => {
    naive.unpreserve(pfns);
  });
  const preserveAny = await timed(() => {
    naive.preserve(any);
  });
  const unpreserveAny = await timed(() => {
    naive.unpreserve(any);
  });
  naive.preserve(pfns);
  const boot = await timed(() => naive.boot());
  return { allocate, preserve, unpreserve, preserveAny, unpreserveAny, boot };
}

const renamed = (values: Record<Step, number>, prefix: string): Record<string, number> =>
  Object.fromEntries(Object.entries(values).map(([step, value]) => [`${prefix} ${step}`, value]));

const pages: Trial['prepare'] = ({ size }) => {
  const count = size / PAGE_SIZE;
  const most = Object.fromEntries(
    Object.entries(MOST).map(([step, ns]) => [`most ${step}`, (ns * count) / 1e6]),
  );
  return {
    run: async (round) => {
      const seed = round + 1;
      const ours = async () => renamed(await measureOurs(count, seed), 'ours');
      const naive = async () => renamed(await measureNaive(count, seed), 'naive');
      if (round % 2 === 0) return { ...(await ours()), ...(await naive()), ...most };
      return { ...(await naive()), ...(await ours()), ...most };
    },
    end: () => undefined,
  };
};

/**
 * A machine of 64 times the size, all of it preserved: what the next kernel needs until it runs,
 * and what it keeps in memory.
 */
const machine: Trial['prepare'] = ({ size }) => {
  const bytes = 64 * size;
  const kho = coldMachine(bytes);
  const pfns = new Uint32Array(bytes / PAGE_SIZE);
  kho.pages.allocBulk(pfns, 0, pfns.length, { zero: true });
  kho.preserveFolios(pfns);
  /**
   * Twice: arrays that one collection finds are given back beside it, and all of them by the next
   * one.
   */
  const collect = (): void => {
    collectGarbage();
    collectGarbage();
  };
  return {
    run: async () => {
      collect();
      const before = process.memoryUsage().arrayBuffers;
      let next: Kho | undefined;
      const boot = await timed(() => {
        next = bootHandover(kho.ram, readHandover(kho.ram, kho.entry), { freeMemory: 'keep' });
      });
      collect(); // what is left is kept
      const bookkeeping = process.memoryUsage().arrayBuffers - before;
      const frames = next?.pages.table.frames ?? 0;
      return { boot, 'most boot': (1000 * bytes) / (64 * GiB), bookkeeping, ram: frames * PAGE_SIZE };
    },
    end: () => undefined,
  };
};

export const KHO_TRIALS: readonly Trial[] = [
  { name: 'pages', title: 'pages without files: allocated, preserved, handed over', prepare: pages },
  { name: 'machine', title: 'boot of a machine of 64 times the size, all of it preserved', prepare: machine },
];

const NAMES: Record<Step, string> = {
  allocate: 'allocation in bulk',
  preserve: 'preserve pages in a row',
  unpreserve: 'unpreserve pages in a row',
  boot: 'walk and take out',
  preserveAny: 'preserve pages in random order',
  unpreserveAny: 'unpreserve pages in random order',
};

export const KHO_FIGURES: readonly Figure[] = [
  ...(Object.keys(MOST) as Step[]).flatMap((step): Figure[] => [
    {
      trial: 'pages',
      title: `${NAMES[step]}, against ${MOST[step]} ns a page`,
      measured: `ours ${step}`,
      against: `most ${step}`,
      kind: 'longer',
      goal: 1,
    },
    {
      trial: 'pages',
      title: `${NAMES[step]}, against objects and keys page by page`,
      measured: `ours ${step}`,
      against: `naive ${step}`,
      kind: 'faster',
    },
  ]),
  {
    trial: 'machine',
    title: 'boot, all preserved, against 1 s for 64 GiB',
    measured: 'boot',
    against: 'most boot',
    kind: 'longer',
    goal: 1,
  },
  {
    trial: 'machine',
    title: 'bookkeeping, at most 16 bytes for 4 KiB',
    measured: 'bookkeeping',
    against: 'ram',
    kind: 'share',
    goal: (100 * 16) / PAGE_SIZE,
  },
];
