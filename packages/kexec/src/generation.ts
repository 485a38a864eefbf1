/**
 * One generation on a RAM that is ours to boot: what is booted from, and what the boot page says
 * until this generation owns the RAM, and from then on.
 */
import { monotonicNow } from '@liveupdate/linux';
import { NO_ENTRY, writeBootPage, type BootPage } from './boot-page.ts';
import type { ExecFdStore } from './exec-fd-store.ts';
import { bootKernel, type Kernel, type LeftKernel } from './kernel.ts';
import { kernelOptions, type MachineOptions } from './machine-options.ts';
import { Tenure, type TenureRam } from './tenure.ts';

/** A RAM that is booted, and what is known of it. */
export interface BootedRam {
  readonly ram: TenureRam;
  readonly path: string | undefined;
  /** The descriptor by which it was asked for. */
  readonly as: number | undefined;
  readonly fds: ExecFdStore;
  /** What the last owner left; undefined in a new RAM. */
  readonly before: BootPage | undefined;
}

/** How the generation before ended, as far as that is known. */
export interface LastOwner {
  readonly pid: number;
  readonly generation: number;
  /**
   * `'handover'`: as it should. All others died: `'exit'`, by process.exit() or because nothing was
   * left to do; `'exception'`, one that nobody caught; `'unknown'`, killed or crashed, at any
   * instruction.
   */
  readonly end: 'handover' | 'exit' | 'exception' | 'unknown';
  /** When that was, in milliseconds since 1970; undefined where it could not say. */
  readonly at: number | undefined;
}

export interface Generation {
  readonly kernel: Kernel;
  readonly tenure: Tenure;
  /** What the boot page says while this generation owns the RAM. */
  readonly page: BootPage;
  /** What it says until then, where it is to be kept. */
  readonly kept: BootPage | undefined;
  readonly origin: 'cold' | 'handover' | 'recovered';
  readonly lastOwner: LastOwner | undefined;
}

/**
 * Boots, and writes the boot page of a RAM that nobody had before: from then on the RAM can be
 * opened by others, whatever becomes of us. Errors are those of bootKernel.
 *
 * @param confinedTo free memory that is used until this generation owns the RAM, where the one
 * before may go on; undefined: all of it
 */
export function bootGeneration(
  { ram, path, as, fds, before }: BootedRam,
  options: MachineOptions,
  confinedTo?: readonly number[],
): Generation {
  const entry = before?.state === 'handed-over' ? before.entry : undefined;
  const isDead = before?.state === 'running' && options.onCrash !== 'cold';
  const left = before && (entry || isDead) ? leftBy(before, entry) : undefined;
  const freeMemory = before ? (options.freeMemory ?? 'discard') : 'zero';
  const confined = confinedTo && left ? { confinedTo } : {};
  const kernel = bootKernel(
    ram,
    left,
    { ...kernelOptions(options), freeMemory, publish: true, ...confined },
    fds,
  );
  const page: BootPage = {
    state: 'running',
    ramSize: ram.size,
    generation: (before?.generation ?? 0) + 1,
    entry: NO_ENTRY,
    kexecStart: entry ? (before?.kexecStart ?? 0n) : 0n,
    kexecFrozen: entry ? (before?.kexecFrozen ?? 0n) : 0n,
    ownerPid: process.pid,
    live: kernel.kho.publication?.pa ?? 0,
    liveChange: 0,
    ended: undefined,
    endedAt: 0,
  };
  const keepsHandover = options.keepHandover ?? false;
  const none: BootPage = { ...page, state: 'empty', generation: 0, live: 0 };
  const kept = keepsHandover ? (before ?? none) : left && before;
  const start = keepsHandover ? 'guest' : kept ? 'trial' : 'owner';
  const tenure = new Tenure({ ram, kernel, fds, path, as, running: page, kept, start });
  if (kept) {
    // The tree and map that led here are freed then, too.
    kernel.pages.holdFreed(() => {
      tenure.own();
    }, kernel.kho.incoming?.structure.length);
    if (!before) writeBootPage(ram, kept);
  } else {
    writeBootPage(ram, page);
    kernel.commit();
  }
  const origin = entry ? 'handover' : left ? 'recovered' : 'cold';
  return { kernel, tenure, page, kept, origin, lastOwner: left && before && lastOwnerOf(before) };
}

/** What a boot page leads to. */
function leftBy(page: BootPage, entry: BootPage['entry'] | undefined): LeftKernel {
  return { entry, live: page.live, liveChange: page.liveChange === 0 ? undefined : page.liveChange };
}

function lastOwnerOf({ state, ownerPid: pid, generation, ended, endedAt, kexecFrozen }: BootPage): LastOwner {
  if (state === 'handed-over') {
    const ago = Number(monotonicNow() - kexecFrozen) / 1e6;
    return { pid, generation, end: 'handover', at: Math.round(Date.now() - ago) };
  }
  return { pid, generation, end: ended ?? 'unknown', at: endedAt === 0 ? undefined : endedAt };
}
