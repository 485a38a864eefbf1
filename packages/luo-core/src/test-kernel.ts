/**
 * What the tests of this package share: kernels on one RAM, one after the other; a file and its
 * handler; snapshots and codes.
 */
import { KernelError, layout } from '@liveupdate/base';
import { boot, bootCold, readFdt, walkRadixTree, type Kho } from '@liveupdate/kho';
import { FREE, HEAD, HeapRam, KIND, STALE, type Ram } from '@liveupdate/mm';
import type { MaybePromise } from './callback-types.ts';
import type { FileHandler, PreservableFile } from './handler.ts';
import { LiveUpdateOrchestrator } from './orchestrator.ts';

/** A file that holds a number. */
export class Counter implements PreservableFile {
  value: number;
  /** References: the owner's, and LUO's. */
  references = 1;

  constructor(value: number) {
    this.value = value;
  }

  get(): void {
    if (this.references === 0) throw new KernelError('EBADF', 'this counter is closed');
    this.references += 1;
  }

  put(): void {
    this.references -= 1;
  }
}

export const CounterSer = layout('counter_ser', 8, { value: { at: 0, bytes: 8 } });

/** The smallest complete handler. */
export function counterHandler(kho: Kho): FileHandler<Counter> {
  return {
    compatible: 'counter-v1',
    canPreserve: (file): file is Counter => file instanceof Counter,
    preserve({ file }) {
      const block = kho.allocPreserve(CounterSer.SIZE); // ENOMEM here leaves nothing to undo
      block.setU64(CounterSer.value, file.value);
      return { data: block.pa };
    },
    freeze({ file, data }) {
      kho.at(data).setU64(CounterSer.value, file.value); // it may have moved since
      return undefined;
    },
    unpreserve({ data }) {
      kho.unpreserveFree(data);
    },
    retrieve({ data }) {
      const value = kho.at(data).getNumber(CounterSer.value);
      kho.restoreFree(data);
      return new Counter(value);
    },
    finish({ data, retrieval }) {
      if (retrieval === 'untried') kho.restoreFree(data);
    },
  };
}

export type Callback =
  | 'canPreserve'
  | 'getId'
  | 'preserve'
  | 'freeze'
  | 'unfreeze'
  | 'unpreserve'
  | 'retrieve'
  | 'canFinish'
  | 'finish'
  | 'flb.preserve'
  | 'flb.unpreserve'
  | 'flb.retrieve'
  | 'flb.finish';

/** How a scripted handler goes about its work, and what it was called for. */
export class Script {
  readonly log: string[] = [];
  /** Callbacks return promises that settle a little later. */
  async = false;
  /** How many turns later, where they do. */
  turns: () => number = () => 1;
  /** What a callback throws before it does anything; undefined: nothing. Asked at each call. */
  fail: ((callback: Callback, value: number) => Error | undefined) | undefined;
  /** Answer of canFinish. */
  mayFinish: ((value: number) => boolean) | undefined;

  /** Makes the next call of one callback (for one value) fail, once. */
  failOnce(callback: Callback, error: Error, value?: number): void {
    this.fail = (name, of) => {
      if (name !== callback || (value !== undefined && of !== value)) return undefined;
      this.fail = undefined;
      return error;
    };
  }

  run<T>(callback: Callback, value: number, work: () => T): MaybePromise<T> {
    this.log.push(`${callback} ${value}`);
    const error = this.fail?.(callback, value);
    if (!this.async) {
      if (error !== undefined) throw error;
      return work();
    }
    let later = Promise.resolve();
    for (let turns = this.turns(); turns > 1; turns--) later = later.then(() => undefined);
    return later.then(() => {
      if (error !== undefined) throw error;
      return work();
    });
  }
}

/** The counter handler with every callback there is, each following the script. */
export function scriptedHandler(kho: Kho, script: Script): FileHandler<Counter> {
  const handler = counterHandler(kho);
  const valueAt = (data: bigint): number => kho.at(data).getNumber(CounterSer.value);
  return {
    compatible: handler.compatible,
    canPreserve: (file): file is Counter => {
      const error = script.fail?.('canPreserve', file instanceof Counter ? file.value : -1);
      if (error !== undefined) throw error;
      return handler.canPreserve(file);
    },
    getId(file) {
      const error = script.fail?.('getId', file.value);
      if (error !== undefined) throw error;
      return file;
    },
    preserve: (context) =>
      script.run('preserve', context.file.value, () => handler.preserve(context) as { data: number }),
    freeze: (context) =>
      script.run('freeze', context.file.value, () => handler.freeze?.(context) as undefined),
    unfreeze: (context) => script.run('unfreeze', context.file.value, () => undefined),
    unpreserve: (context) =>
      script.run('unpreserve', context.file.value, () => handler.unpreserve(context) as undefined),
    retrieve(context) {
      return script.run('retrieve', valueAt(context.data), () => handler.retrieve(context) as Counter);
    },
    canFinish: (context) => {
      const value = context.file?.value ?? valueAt(context.data);
      return script.run('canFinish', value, () => script.mayFinish?.(value) ?? true);
    },
    finish(context) {
      const { retrieval, file, data } = context;
      const value = file?.value ?? valueAt(data);
      // A scripted failure of retrieve leaves the record where it is: it is freed here, as if
      // retrieve had done it.
      return script.run('finish', value, () => {
        script.log.push(retrieval);
        if (retrieval === 'failed') kho.restoreFree(data);
        else void handler.finish(context);
      });
    },
  };
}

export interface TestKernel {
  readonly kho: Kho;
  readonly luo: LiveUpdateOrchestrator;
  readonly script: Script;
  readonly handler: FileHandler;
}

/** A first kernel, on RAM of `size` bytes. */
export function coldKernel(size = 4 * 2 ** 20): TestKernel {
  return start(bootCold(new HeapRam(size), { freeMemory: 'zero' }));
}

/**
 * The kernel after one that has rebooted: on the same RAM, with everything that was not preserved
 * overwritten.
 */
export function nextKernel({ kho }: TestKernel, script = new Script()): TestKernel {
  const next = start(boot(kho.ram, kho.entry, { freeMemory: 'poison' }), script);
  next.kho.commit();
  return next;
}

export function start(kho: Kho, script = new Script()): TestKernel {
  const handler = scriptedHandler(kho, script);
  return { kho, luo: new LiveUpdateOrchestrator({ kho, handlers: [handler] }), script, handler };
}

/**
 * The code with which `work` fails, now or as a promise; 'ok' where it does not. Anything but a
 * KernelError passes through.
 */
export async function outcome(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (error instanceof KernelError) return error.code;
    throw error;
  }
}

/**
 * Everything that an undone failure must leave as it was: each frame that is not free, and the map
 * of preserved pages.
 */
export function snapshot({ ram, entry, pages }: Kho): string {
  const { table, freePages, freeScratchPages } = pages;
  let text = `free ${freePages} + ${freeScratchPages}\n`;
  for (let pfn = 0; pfn < table.frames; pfn++) {
    const flags = table.flagsOf(pfn) & ~STALE; // whether old content is known does not matter to anybody
    if ((flags & KIND) === FREE) continue;
    text += `${pfn}: ${flags}`;
    if ((flags & KIND) === HEAD)
      text += ` order ${table.orderOf(pfn)} refs ${table.refsOf(pfn)} pins ${table.pinsOf(pfn)}`;
    text += '\n';
  }
  walkRadixTree(ram, preservedMap(ram, entry.fdtAddr), (pfn, count, order) => {
    text += `preserved ${pfn} + ${count} of order ${order}\n`;
  });
  return text;
}

function preservedMap(ram: Ram, fdtAddr: number): number {
  const value = readFdt(ram.bytes(fdtAddr, 4096)).properties.get('preserved-memory-map');
  if (!value) throw new Error('the device tree names no map');
  return Number(new DataView(value.buffer, value.byteOffset, 8).getBigUint64(0, true));
}

/**
 * Runs `work` with the nth allocation failing, for n = 1, 2, ... until it gets by without that
 * failure.
 *
 * @param failed called after each run that met the failure
 * @returns how many did
 */
export async function failEachAllocation(
  { pages }: Kho,
  work: () => unknown,
  failed: (outcome: string) => unknown,
): Promise<number> {
  for (let n = 1; ; n++) {
    let calls = 0;
    pages.beforeAllocation = () => {
      calls += 1;
      if (calls === n) throw new KernelError('ENOMEM', `allocation ${n} fails for the test`);
    };
    const result = await outcome(work);
    pages.beforeAllocation = undefined;
    if (calls < n) return n - 1;
    await failed(result);
  }
}
