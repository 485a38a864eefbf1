/**
 * The orchestrator itself, with files that are a number and nothing more: what a session and a file
 * cost, whatever carries them. Many of them are measured against a tenth, ten times over, so that
 * both sides do the same work: what grows with the number of files shows in the quotient.
 */
import { bootKernel, type HandlerFactory, type Kernel } from '@liveupdate/kexec';
import { MappedRam } from '@liveupdate/linux';
import { timed } from './baselines.ts';
import type { Figure } from './figure.ts';
import { collectGarbage } from './garbage.ts';
import type { Trial } from './runner.ts';

const TENTH = 10;
/** Files of a whole run, and of one that only shows that everything works. */
const FILES = 100_000;
const FEW_FILES = 5000;
/** Runs with a file smaller than this are such. */
const WHOLE_RUN = 2 ** 30;
/** Scratch, map and records of as many sessions as there are files tenths: a page for each. */
const RAM_SIZE = 256 * 2 ** 20;
/** What is measured against where a goal is in seconds. */
const SECOND = 1000;

interface NumberFile {
  readonly number: number;
}

/** Its record is the number itself. */
const handlers: HandlerFactory = () => [
  {
    compatible: 'bench-number-v1',
    canPreserve: (file) => 'number' in file,
    preserve: ({ file }) => ({ data: (file as NumberFile).number }),
    freeze: ({ file }) => ({ data: (file as NumberFile).number }),
    unpreserve: () => undefined,
    retrieve: ({ data }): NumberFile => ({ number: Number(data) }),
    finish: () => undefined,
  },
];

/** Bytes: what V8 gives back of what was there before is more than a few files take. */
const LEAST_HEAP = 4096;

/** What a generation of files cost: milliseconds, and bytes of heap while all are preserved. */
interface Cost {
  life: number;
  handover: number;
  heap: number;
}

/** Preserves files in sessions, hands over, retrieves and finishes them all. */
async function generation(ram: MappedRam, sessions: number, filesInEach: number): Promise<Cost> {
  const files = Array.from({ length: sessions * filesInEach }, (_, i): NumberFile => ({ number: i }));
  let kernel: Kernel = bootKernel(ram, undefined, { handlers, freeMemory: 'keep' });
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  const preserve = await timed(async () => {
    for (let s = 0; s < sessions; s++) {
      const session = kernel.luo.createSession(`session ${s}`);
      for (let f = 0; f < filesInEach; f++) await session.preserve(files[s * filesInEach + f], f);
    }
  });
  collectGarbage();
  const heap = Math.max(LEAST_HEAP, process.memoryUsage().heapUsed - before);
  const handover = await timed(() => kernel.luo.reboot());
  const { entry } = kernel.kho;
  kernel = bootKernel(ram, entry, { handlers, freeMemory: 'keep' });
  kernel.commit();
  const retrieve = await timed(async () => {
    for (const session of kernel.luo.incomingSessions) {
      kernel.luo.retrieveSession(session.name);
      for (let f = 0; f < filesInEach; f++) await session.retrieve(f);
      await session.finish();
    }
  });
  return { life: preserve + handover + retrieve, handover, heap };
}

/** All at once, and a tenth ten times over. */
function prepare(
  shape: (files: number) => readonly [sessions: number, filesInEach: number],
): Trial['prepare'] {
  return ({ size }) => {
    const files = size < WHOLE_RUN ? FEW_FILES : FILES;
    const ram = MappedRam.anonymous({ name: 'liveupdate-bench', size: RAM_SIZE });
    const whole = (): Promise<Cost> => generation(ram, ...shape(files));
    const tenths = async (): Promise<Cost> => {
      const sum: Cost = { life: 0, handover: 0, heap: 0 };
      for (let i = 0; i < TENTH; i++) {
        const { life, handover, heap } = await generation(ram, ...shape(files / TENTH));
        sum.life += life;
        sum.handover += handover;
        sum.heap += heap;
      }
      return sum;
    };
    return {
      run: async (round) => {
        const first = round % 2 === 0 ? await whole() : undefined;
        const tenth = await tenths();
        const { life, handover, heap } = first ?? (await whole());
        return {
          life,
          handover,
          heap,
          tenthLife: tenth.life,
          tenthHandover: tenth.handover,
          tenthHeap: tenth.heap,
          second: SECOND,
        };
      },
      end: () => {
        ram.close();
      },
    };
  };
}

const FILES_IN_EACH = 10;

export const LUO_TRIALS: readonly Trial[] = [
  {
    name: 'luo-files',
    title: '100,000 files in one session',
    prepare: prepare((files) => [1, files]),
  },
  {
    name: 'luo-sessions',
    title: '10,000 sessions with 10 files each',
    prepare: prepare((files) => [files / FILES_IN_EACH, FILES_IN_EACH]),
  },
];

export const LUO_FIGURES: readonly Figure[] = LUO_TRIALS.flatMap(({ name, title }): Figure[] => [
  {
    trial: name,
    title: `${title}: preserve to finish`,
    measured: 'life',
    against: 'tenthLife',
    kind: 'longer',
    goal: 1.2,
  },
  {
    trial: name,
    title: `${title}: heap`,
    measured: 'heap',
    against: 'tenthHeap',
    kind: 'share',
    goal: 120,
  },
  {
    trial: name,
    title: `${title}: freeze and serialise`,
    measured: 'handover',
    against: 'second',
    kind: 'longer',
    goal: 1,
  },
]);
