/**
 * Generations of one machine, one after the other in this process: files are preserved, taken back,
 * preserved again, handed over, and retrieved by the next kernel on the same RAM. Before anything
 * counts, the engine has compiled all of it, so this is the work itself; what a process pays that
 * does it once is measured in processes of their own.
 */
import { bootKernel, type Kernel } from '@liveupdate/kexec';
import { MappedRam } from '@liveupdate/linux';
import { ShmemFile } from '@liveupdate/shmem';
import { copyTarget, copyTo, timed, writeRecords } from './baselines.ts';
import type { Trial } from './runner.ts';
import { summarize } from './stats.ts';
import { makeFiles, makeRam, refill, touchBytes, type Workload } from './workload.ts';

const SESSION = 'bench';

/** What is measured around one phase: time here, other things in a profile. */
export type Around = (phase: Phase, work: () => Promise<void>) => Promise<void>;

/** What a generation does, in this order. */
export const GENERATION_PHASES = {
  ahead: 'pages made ready before, while nobody waits',
  preserve: 'preserve',
  unpreserve: 'unpreserve',
  freeze: 'freeze and serialise',
  boot: 'boot from the handover',
  retrieve: 'retrieve',
  finish: 'finish',
} as const;
export type Phase = keyof typeof GENERATION_PHASES;

/** One machine in this process. */
export class Generations implements Disposable {
  readonly ram: MappedRam;
  readonly #workload: Workload;
  readonly #size: number;
  #kernel: Kernel;
  #files: ShmemFile[];

  constructor(workload: Workload, size: number) {
    this.#workload = workload;
    this.#size = size;
    this.ram = makeRam(workload, size);
    this.#kernel = bootKernel(this.ram, undefined, { freeMemory: 'zero' });
    this.#files = makeFiles(this.#kernel.shmem, workload, size);
  }

  get files(): readonly ShmemFile[] {
    return this.#files;
  }

  /**
   * Goes through all phases once.
   *
   * @param calls files are preserved in one call, or each in its own
   */
  async pass(around: Around, calls: 'one' | 'each' = 'each'): Promise<void> {
    const { luo } = this.#kernel;
    const session = luo.createSession(SESSION);
    // eslint-disable-next-line @typescript-eslint/require-await -- every phase is a promise to whoever measures it
    await around('ahead', async () => {
      this.#kernel.prepare();
    });
    const preserve = async (): Promise<void> => {
      for (const [index, file] of this.#files.entries()) await session.preserve(file, index);
    };
    await around('preserve', calls === 'one' ? () => session.preserveAll(this.#files.entries()) : preserve);
    await around('unpreserve', async () => {
      for (const index of this.#files.keys()) await session.unpreserve(index);
    });
    await preserve();
    const { kho } = this.#kernel;
    await around('freeze', async () => {
      await luo.reboot();
      kho.recordResidency(); // as a machine does that hands over
    });
    const { entry } = kho;
    // eslint-disable-next-line @typescript-eslint/require-await -- every phase is a promise to whoever measures it
    await around('boot', async () => {
      this.#kernel = bootKernel(this.ram, entry);
      this.#kernel.commit();
    });
    const incoming = this.#kernel.luo.retrieveSession(SESSION);
    const files: ShmemFile[] = [];
    await around('retrieve', async () => {
      for (const index of this.#files.keys()) files.push(await incoming.retrieve(index, ShmemFile));
    });
    await around('finish', () => incoming.finish());
    this.#files = files;
    if (this.#workload.content === 'sparse')
      for (const file of files) refill(file, this.#workload, this.#size / files.length);
  }

  [Symbol.dispose](): void {
    this.ram.close();
  }
}

/** Milliseconds that preserving a small file may take. */
const MOST_PER_FILE = 0.002;

/**
 * Milliseconds of work in a round, and passes: a phase that takes a fraction of a millisecond once
 * says more about what came before it, and of two passes each has what the engine collects in one.
 */
const LEAST_WORK = 120;
const LEAST_PASSES = 6;
const MOST_PASSES = 100;

/**
 * Warm-up ends when passes get no quicker: when the median pass of a batch is not so much below the
 * best before it, twice in a row. Or after milliseconds in which a long pass, most of it loops, is
 * compiled anyhow.
 */
const WARM = { batch: 25, quicker: 0.97, most: 4000 };

/** In turn, so that both ways find memory as a boot leaves it. */
function callsOf(pass: number): 'one' | 'each' {
  return pass % 2 === 0 ? 'each' : 'one';
}

async function warmUp(machine: Generations): Promise<void> {
  const start = performance.now();
  let best = Infinity;
  for (let without = 0; without < 2;) {
    const times: number[] = [];
    for (let done = 0; done < WARM.batch; done++) {
      let spent = 0;
      await machine.pass(async (_, work) => {
        spent += await timed(work);
      }, callsOf(done));
      times.push(spent);
      if (performance.now() - start > WARM.most) return;
    }
    const { median } = summarize(times);
    without = median < best * WARM.quicker ? 0 : without + 1;
    best = Math.min(best, median);
  }
}

/** The trial of a workload. */
export function generations(workload: Workload): Trial['prepare'] {
  return async ({ size, warm }) => {
    const machine = new Generations(workload, size);
    const target = copyTarget(size);
    const records = MappedRam.anonymous({
      name: 'liveupdate-bench-records',
      size: recordsSize(workload, size),
    });
    records.system.populate(0, records.size);

    // Tens of thousands of pieces are more than a process may map: as many bytes are copied from
    // another place.
    const scattered = workload.content === 'sparse' ? copyTarget(size) : undefined;

    const copy = async (): Promise<number> => {
      if (scattered) {
        const source = scattered.bytes(0, scattered.size);
        return timed(() => {
          for (let at = 0; at < size; at += source.length) copyTo(target, source);
        });
      }
      let milliseconds = 0;
      for (const file of machine.files) {
        using mapped = file.map();
        touchBytes(mapped.bytes); // of this mapping: another has page tables of its own
        milliseconds += await timed(() => {
          copyTo(target, mapped.bytes);
        });
      }
      return milliseconds;
    };
    // Also where no round warms up: the host may have taken back what is only mapped.
    await copy();
    if (warm) await warmUp(machine);
    const againsts = async (): Promise<Record<string, number>> => ({
      'most preserve': MOST_PER_FILE * workload.files,
      copy: await copy(),
      records: await timed(() => {
        writeRecords(records, size / workload.folio, workload.folio);
      }),
    });
    /**
     * Generation after generation: the median of each phase, and the first preserve of all, which
     * finds the caches full of the file's bytes.
     */
    const passes = async (): Promise<Record<string, number>> => {
      const times = new Map<Phase | 'preserveAll', number[]>();
      let spent = 0;
      for (let done = 0; done < MOST_PASSES && (done < LEAST_PASSES || spent < LEAST_WORK); done++) {
        const calls = callsOf(done);
        await machine.pass(async (phase, work) => {
          const time = await timed(work);
          const series = phase === 'preserve' && calls === 'one' ? 'preserveAll' : phase;
          times.set(series, [...(times.get(series) ?? []), time]);
          spent += time;
        }, calls);
      }
      const medians = [...times].map(([phase, values]) => [phase, summarize(values).median] as const);
      return { ...Object.fromEntries(medians), preserveOnce: times.get('preserve')![0] };
    };
    return {
      run: async (round) => {
        // In turn, so that neither always finds the caches as the other left them.
        if (round % 2 === 0) return { ...(await againsts()), ...(await passes()) };
        return { ...(await passes()), ...(await againsts()) };
      },
      end: () => {
        for (const ram of [target, scattered, records, machine.ram]) ram?.close();
      },
    };
  };
}

/** At least the two pages that a RAM has. */
function recordsSize({ folio }: Workload, size: number): number {
  return Math.max(2, Math.ceil(((size / folio) * 16) / 4096)) * 4096;
}
