/**
 * Views: a file mapped, touched and unmapped beside a heap of 200 MiB, against a bare mmap of the
 * same pages; small files mapped; and what is not there: a preserved hole that is read, an empty
 * RAM that is handed over.
 */
import { bootKernel, Machine } from '@liveupdate/kexec';
import { BarePlace, mapWithBuffer } from './bare-map.ts';
import { timed } from './baselines.ts';
import type { Figure } from './figure.ts';
import { inTurn, type Trial } from './runner.ts';
import { HUGE, makeFiles, makeRam, SMALL, touchBytes, type Workload } from './workload.ts';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

/** Bytes of objects that a collection meets. */
const HEAP = 200 * MIB;
/** Small files that are mapped in a round, and of what size. */
const SMALL_FILES = 500;
const SMALL_SIZE = 64 * KIB;
/** Milliseconds that mapping one may take. */
const MOST_MAP = 0.02;
const EMPTY_RAM = 16 * TIB;

/**
 * Objects that live as long as what is given back: fewer in a run that only shows that everything
 * works.
 */
function fillHeap(size: number): readonly object[] {
  const bytes = Math.min(HEAP, size / 5);
  const objects: object[] = [];
  const before = process.memoryUsage().heapUsed;
  while (process.memoryUsage().heapUsed - before < bytes)
    for (let i = 0; i < 10_000; i++) objects.push({ number: i, next: objects.at(-1), list: [i, i + 1] });
  return objects;
}

/**
 * A large file: ours with all that it has to do; bare under a buffer that is there already, where
 * the engine has nothing to do; and bare under a new one.
 *
 * @param parts the file is so many times smaller than other trials' files
 */
function large(workload: Workload, parts = 1): Trial['prepare'] {
  return ({ size: all }) => {
    const size = all / parts;
    const heap = fillHeap(all);
    const ram = makeRam(workload, size);
    const { shmem } = bootKernel(ram, undefined, { freeMemory: 'zero' });
    const [file] = makeFiles(shmem, workload, size);
    const longest = ram.dataPieces().reduce((a, b) => (b.length > a.length ? b : a));
    // The same pages, but for those that lie elsewhere.
    const part = { fd: ram.fd, offset: longest.pa, length: Math.min(size, longest.length) };
    const share = part.length / size;
    const place = new BarePlace(part.length);
    const sides = [
      async () => ({
        map: await timed(async () => {
          using mapped = file.map();
          await mapped.populate();
          touchBytes(mapped.bytes);
        }),
      }),
      async () => ({
        bareMap:
          (await timed(() => {
            place.map(part);
          })) / share,
      }),
      async () => ({
        bareBuffer:
          (await timed(() => {
            mapWithBuffer(part);
          })) / share,
      }),
    ];
    return {
      run: (round) => inTurn(sides, round),
      end: () => {
        place[Symbol.dispose]();
        ram.close();
        heap.at(0); // until here
      },
    };
  };
}

/** Small files, each mapped and unmapped. */
const small: Trial['prepare'] = () => {
  const workload: Workload = { ...SMALL, files: SMALL_FILES };
  const ram = makeRam(workload, SMALL_FILES * SMALL_SIZE);
  const { shmem } = bootKernel(ram, undefined, { freeMemory: 'zero' });
  const files = makeFiles(shmem, workload, SMALL_FILES * SMALL_SIZE);
  return {
    run: async () => {
      const views: Disposable[] = [];
      const map = await timed(() => {
        for (const file of files) views.push(file.map());
      });
      const unmap = await timed(() => {
        for (const view of views) view[Symbol.dispose]();
      });
      return { map: map / SMALL_FILES, unmap: unmap / SMALL_FILES, 'most map': MOST_MAP };
    },
    end: () => {
      ram.close();
    },
  };
};

/** A hole that is preserved, and read then. */
const hole: Trial['prepare'] = ({ size }) => {
  const ram = makeRam(SMALL, size);
  const { luo, shmem } = bootKernel(ram, undefined, { freeMemory: 'zero' });
  const file = shmem.memfdCreate('bench');
  file.truncate(size);
  const chunk = new Uint8Array(MIB);
  return {
    run: async (round) => {
      const session = luo.createSession(`hole ${round}`);
      await session.preserve(file, 1);
      const before = ram.allocated();
      const readHole = await timed(() => {
        for (let at = 0; at < size; at += chunk.length) file.pread(chunk, at);
      });
      const after = ram.allocated();
      await session.close();
      return { readHole, after, before };
    },
    end: () => {
      ram.close();
    },
  };
};

/** A RAM with nothing in it is handed over: one of 16 TiB, and one of 64 MiB. */
const empty: Trial['prepare'] = () => {
  const handOver = async (size: number): Promise<number> => {
    const name = `bench-empty-${process.pid}`;
    const machine = await Machine.open({ name, size });
    try {
      return await timed(() => machine.handOver());
    } finally {
      machine.remove();
    }
  };
  const sides = [
    async () => ({ large: await handOver(EMPTY_RAM) }),
    async () => ({ small: await handOver(64 * MIB) }),
  ];
  return { run: (round) => inTurn(sides, round), end: () => undefined };
};

/** 64 MiB, in a whole run. */
const PARTS = 16;
const FOLIOS = [
  { suffix: '', folios: '4 KiB folios', workload: SMALL },
  { suffix: '-huge', folios: '2 MiB folios', workload: HUGE },
] as const;
const memory = (size: number): number => size + GIB;

export const MAP_TRIALS: readonly Trial[] = [
  ...FOLIOS.flatMap(({ suffix, folios, workload }): Trial[] => [
    {
      name: `map-64m${suffix}`,
      title: `a file of 64 MiB mapped, touched, unmapped, ${folios}`,
      memory,
      prepare: large(workload, PARTS),
    },
    {
      name: `map${suffix}`,
      title: `a file mapped, touched, unmapped, ${folios}`,
      sizes: 'series',
      memory,
      prepare: large(workload),
    },
  ]),
  { name: 'map-small', title: 'small files mapped and unmapped', memory: () => GIB, prepare: small },
  { name: 'hole', title: 'a preserved hole that is read', memory: () => GIB, prepare: hole },
  { name: 'empty', title: 'an empty RAM of 16 TiB that is handed over', memory: () => GIB, prepare: empty },
];

/** The comparison that flatters least first. */
function mapFigures(trial: string, what: string, size?: number): Figure[] {
  const figure = { trial, measured: 'map', kind: 'longer', ...(size === undefined ? {} : { size }) } as const;
  return [
    { ...figure, title: `map, touch, unmap ${what}`, against: 'bareMap', goal: 1.1 },
    { ...figure, title: `map, touch, unmap ${what}, beside a new buffer`, against: 'bareBuffer' },
  ];
}

export const MAP_FIGURES: readonly Figure[] = [
  ...FOLIOS.flatMap(({ suffix, folios }) => [
    ...mapFigures(`map-64m${suffix}`, `64 MiB, ${folios}`),
    ...mapFigures(`map${suffix}`, `1 GiB, ${folios}`),
    ...mapFigures(`map${suffix}`, `4 GiB, ${folios}`, 4 * GIB),
  ]),
  {
    trial: 'map-small',
    title: 'map a small file, against 20 µs',
    measured: 'map',
    against: 'most map',
    kind: 'longer',
    goal: 1,
  },
  {
    trial: 'hole',
    title: 'memory taken in all, a preserved hole read, beside before',
    measured: 'after',
    against: 'before',
    kind: 'share',
    goal: 100,
    sane: 100.1,
  },
  {
    trial: 'empty',
    title: 'hand over an empty RAM of 16 TiB, beside one of 64 MiB',
    measured: 'large',
    against: 'small',
    kind: 'longer',
    goal: 1.5,
  },
];
