/**
 * What one generation does with its RAM from the day it boots: it becomes the owner, seals a
 * handover, calls one off, lets go. What the boot page says follows from its state
 * (machine-state.ts).
 *
 * Always: whatever fails on the way to a handover, and whatever fails while that is called off, it
 * runs again afterwards, unless it was closed.
 */
import { KernelError, suppressedBy } from '@liveupdate/base';
import { MappedRam, prepareReplacement } from '@liveupdate/linux';
import { FolioRuns, type Ram } from '@liveupdate/mm';
import { NO_ENTRY, writeBootPage, type BootPage } from './boot-page.ts';
import type { ExecFdStore } from './exec-fd-store.ts';
import type { PassedRam } from './inherited-rams.ts';
import type { Kernel } from './kernel.ts';
import { MachineState, type RunningState } from './machine-state.ts';

/** Of free memory, one part in so many is lent to a next kernel that is to commit later. */
const LENT_PART = 4;
/** Pages that are lent at most: 1 GiB. */
const MOST_LENT = 2 ** 18;

/** What is needed of a RAM. */
export type TenureRam = Ram & Pick<MappedRam, 'fd' | 'dropPageTables'>;

export interface TenureInit {
  readonly ram: TenureRam;
  readonly kernel: Kernel;
  readonly fds: ExecFdStore;
  readonly path: string | undefined;
  /** The descriptor by which the RAM was opened. */
  readonly as: number | undefined;
  /** What the boot page says while this generation owns the RAM. */
  readonly running: BootPage;
  /** What it says until then. */
  readonly kept: BootPage | undefined;
  readonly start: RunningState;
}

export class Tenure {
  readonly state: MachineState;
  readonly #init: TenureInit;
  /** Takes back what was recorded last, for a handover that is called off. */
  #unrecord: (() => void) | undefined;
  /** Memory that the next kernel may use before it owns anything. */
  #lent: FolioRuns | undefined;

  constructor(init: TenureInit) {
    this.#init = init;
    this.state = new MachineState(init.start);
    const { publication } = init.kernel.kho;
    if (!publication) return;
    if (init.start === 'guest') publication.defer();
    publication.beforeFirst = () => {
      this.own();
    };
    publication.afterTurn = (work) => {
      setImmediate(work).unref();
    };
  }

  /** What the RAM is called in messages. */
  get title(): string {
    const { path, as } = this.#init;
    return path ?? (as === undefined ? 'a RAM without a name' : `the RAM of descriptor ${as}`);
  }

  /** What the next generation of this process is told of the RAM. */
  get passed(): PassedRam {
    const { ram, path, as, fds } = this.#init;
    return { fd: ram.fd, path, as, keeps: fds.kept };
  }

  /**
   * Becomes the owner once the program has done what it is in a hurry with, and makes ready for the
   * next handover.
   */
  ownSoon(): void {
    setImmediate(() => {
      this.own();
      if (!this.state.isRunning) return; // nothing is taken once a handover is sealed
      prepareReplacement();
      this.#init.kernel.prepare();
    }).unref();
  }

  /** From now on the handover that led here is given up, and its memory used again. */
  own(): void {
    if (!this.state.can('own')) return;
    const { ram, running, kernel } = this.#init;
    this.state.take('own');
    if (kernel.kho.publication) kernel.kho.publication.beforeFirst = undefined;
    kernel.kho.publication?.settle(); // while the page of the handover says which change counts
    writeBootPage(ram, running);
    kernel.pages.releaseHeld();
    kernel.commit();
  }

  /**
   * A handover begins: from here on it is this one or none.
   *
   * @throws KernelError EBADF: closed. EBUSY: one is on its way already. ENOENT: the file of the
   * RAM was removed
   */
  begin(): void {
    if (this.state.isRunning) this.#checkThere();
    this.own(); // what is published on the way is the owner's
    this.state.take('begin');
  }

  /**
   * Does ahead what the end of this process does anyhow: RAM leaves the page tables, for at most 60
   * ms per GiB. Here it is done in small steps, and between them everything goes on; at the end
   * nobody would be served.
   */
  async dropPageTables(): Promise<void> {
    const steps = this.#init.ram.dropPageTables();
    while (!this.state.isClosed && steps.next().done !== true)
      await new Promise((resolve) => setImmediate(resolve));
  }

  /**
   * Freezes everything, writes the records, seals the boot page.
   *
   * @throws KernelError EBADF: closed. ENOENT: the file of the RAM was removed. ENOMEM: the next
   * generation would have no memory to boot. EOPNOTSUPP: another process is to go on, which
   * descriptors that are preserved cannot reach. What a handler's freeze threw
   *
   * @param options `isExec`: whether it is this process that goes on; `dropUnfinished`: see
   * RebootOptions of luo-core
   */
  async seal(
    kexecStart: bigint,
    kexecFrozen: bigint,
    { isExec, dropUnfinished }: { readonly isExec: boolean; readonly dropUnfinished: boolean },
  ): Promise<void> {
    const { ram, kernel, running, fds } = this.#init;
    this.state.take('freeze');
    this.#checkThere();
    if (!isExec) fds.checkEmpty();
    kernel.kho.checkRoomForNext();
    await kernel.luo.reboot({ dropUnfinished });
    if (!isExec) fds.checkEmpty(); // of what was kept at the last moment
    this.#unrecord = kernel.kho.recordResidency();
    const liveChange = kernel.kho.publication?.seal() ?? 0;
    if (!this.state.isClosed)
      writeBootPage(ram, {
        ...running,
        state: 'handed-over',
        entry: kernel.kho.entry,
        kexecStart,
        kexecFrozen,
        liveChange,
      });
    this.state.take('seal');
  }

  /**
   * The handover does not come about: what of it was done is taken back, and everything goes on.
   *
   * @returns everything that was thrown on the way
   */
  async callOff(): Promise<unknown[]> {
    const { ram, kernel, running, kept } = this.#init;
    const errors: unknown[] = [];
    if (this.state.can('thaw')) {
      this.state.take('thaw');
      if (kernel.luo.state === 'handed-over') {
        try {
          writeBootPage(ram, this.state.tenure === 'owner' ? running : (kept ?? running));
        } catch (error) {
          errors.push(error);
        }
        this.#takeBackLent();
        kernel.kho.publication?.unseal();
        this.#unrecord?.();
        this.#unrecord = undefined;
        try {
          await kernel.luo.cancelReboot();
        } catch (error) {
          errors.push(error, ...suppressedBy(error));
        }
      }
    }
    if (this.state.can('resume')) {
      this.state.take('resume');
      this.ownSoon();
    }
    return errors;
  }

  /**
   * Sealed, for a next kernel that is there already and may yet not come: this one stays as it is,
   * and touches neither what it lends to that one nor the live record.
   *
   * @returns the frames that it lends, first and number in turn
   * @throws KernelError ENOMEM: no memory to note them. Nothing is lent, and it is still sealed
   */
  lend(): number[] {
    const { pages, kho } = this.#init.kernel;
    const rows = new FolioRuns();
    const count = Math.min(Math.floor(pages.freePages / LENT_PART), MOST_LENT);
    try {
      pages.allocRuns(count, { taken: 'when touched' }, (pfn, length) => {
        rows.pushRow(pfn, length, 0);
      });
    } catch (error) {
      pages.putRows(rows);
      throw error;
    }
    this.#lent = rows;
    kho.publication?.suspend();
    const runs: number[] = [];
    for (let i = 0; i < rows.length; i++) runs.push(rows.pfns[i], rows.counts[i]);
    return joined(runs);
  }

  /** The next kernel did not come: all that is in what was lent to it goes. */
  #takeBackLent(): void {
    const rows = this.#lent;
    if (!rows) return;
    this.#lent = undefined;
    const { pages, kho } = this.#init.kernel;
    for (let i = 0; i < rows.length; i++) pages.residency.giveBack(rows.pfns[i], rows.counts[i]);
    kho.publication?.resume(); // what the record says of memory is right only now
    pages.putRows(rows);
  }

  #checkThere(): void {
    const { ram, path } = this.#init;
    if (path === undefined || MappedRam.isOpenOn(ram.fd, path)) return;
    const why = 'the next owner would not find what is handed over';
    throw new KernelError('ENOENT', `${path} was removed, or replaced by another: ${why}`);
  }

  /**
   * Notes how this process ends, where it can: what is preserved survives that anyhow.
   */
  noteEnd(ended: 'exit' | 'exception'): void {
    if (this.state.name !== 'owner') return;
    const { ram, running, kernel } = this.#init;
    kernel.luo.flush();
    writeBootPage(ram, { ...running, ended, endedAt: Date.now() });
  }

  /** Gives up what is in the RAM: the next owner finds it empty. */
  leaveEmpty(): void {
    const { ram, running } = this.#init;
    writeBootPage(ram, { ...running, state: 'empty', entry: NO_ENTRY, live: 0 });
  }
}

/** Runs in ascending order, those that touch made one. */
function joined(runs: readonly number[]): number[] {
  const order = runs.flatMap((_, i) => (i % 2 === 0 ? [i] : [])).sort((a, b) => runs[a] - runs[b]);
  const out: number[] = [];
  for (const i of order) {
    const last = out.length - 2;
    if (last >= 0 && out[last] + out[last + 1] === runs[i]) out[last + 1] += runs[i + 1];
    else out.push(runs[i], runs[i + 1]);
  }
  return out;
}
