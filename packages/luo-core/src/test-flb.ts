/**
 * FLBs for tests: a number in a preserved page, going by a script; and kernels with two handlers
 * that share them.
 */
import { boot, bootCold, type Kho } from '@liveupdate/kho';
import { HeapRam } from '@liveupdate/mm';
import type { FileLifecycleBound } from './flb.ts';
import type { FileHandler } from './handler.ts';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import { Counter, CounterSer, Script, scriptedHandler, type TestKernel } from './test-kernel.ts';

/** The live object. */
export class Shared {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** An FLB whose object holds `value`. A failing retrieve leaves nothing behind, as it must. */
export function scriptedFlb(kho: Kho, script: Script, value: number): FileLifecycleBound<Shared> {
  return {
    compatible: `flb-${value}`,
    preserve: () =>
      script.run('flb.preserve', value, () => {
        const block = kho.allocPreserve(CounterSer.SIZE);
        block.setU64(CounterSer.value, value);
        return { data: block.pa, object: new Shared(value) };
      }),
    unpreserve: ({ data }) =>
      script.run('flb.unpreserve', value, () => {
        kho.unpreserveFree(data);
      }),
    retrieve: ({ data }) => {
      const object = new Shared(kho.at(data).getNumber(CounterSer.value));
      kho.restoreFree(data);
      return script.run('flb.retrieve', value, () => object);
    },
    finish: ({ object }) =>
      script.run('flb.finish', object.value, () => {
        /* nothing is left to let go of */
      }),
  };
}

export interface FlbKernel extends TestKernel {
  /** Registered: the first with the handler for odd counters, the second with both handlers. */
  readonly flbs: readonly FileLifecycleBound<Shared>[];
  readonly odd: FileHandler<Counter>;
  readonly even: FileHandler<Counter>;
}

type MakeFlbs = (kho: Kho, script: Script) => readonly FileLifecycleBound<Shared>[];

const oneAndTwo: MakeFlbs = (kho, script) => [1, 2].map((value) => scriptedFlb(kho, script, value));

/**
 * A kernel with one handler for odd counters and one for even ones; a first one, or the one after a
 * kernel that has rebooted.
 */
export function flbKernel(before?: TestKernel, script = new Script(), make = oneAndTwo): FlbKernel {
  const kho = before
    ? boot(before.kho.ram, before.kho.entry, { freeMemory: 'poison' })
    : bootCold(new HeapRam(4 * 2 ** 20), { freeMemory: 'zero' });
  const flbs = make(kho, script);
  const handlerOf = (remainder: number, compatible: string): FileHandler<Counter> => ({
    ...scriptedHandler(kho, script),
    compatible,
    flbs: flbs.slice(1 - remainder),
    canPreserve: (file): file is Counter => {
      const error = file instanceof Counter ? script.fail?.('canPreserve', file.value) : undefined;
      if (error) throw error;
      return file instanceof Counter && file.value % 2 === remainder;
    },
  });
  const [even, odd] = [handlerOf(0, 'even-v1'), handlerOf(1, 'odd-v1')];
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [odd, even] });
  kho.commit();
  return { kho, luo, script, handler: odd, flbs, odd, even };
}
