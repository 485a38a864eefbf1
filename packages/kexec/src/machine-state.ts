/**
 * The state of a machine: one of eight, and the steps that lead from each to another. Nothing else
 * changes it, so a handover that fails, wherever it does, has a way back.
 *
 *   trial     runs; the boot page still tells of what was handed over: whoever dies now leaves that
 *   guest     the same, until it hands over itself (keepHandover)
 *   owner     runs; the boot page says so
 *   preparing a handover begins: page tables are dropped, everything is still served
 *   freezing  files are frozen, records are written
 *   sealed    the boot page tells of them; the next generation may come
 *   thawing   it does not come: files are unfrozen
 *   closed    the RAM is no longer ours
 */
import { assert, KernelError } from '@liveupdate/base';

export type RunningState = 'trial' | 'guest' | 'owner';
export type StateName = RunningState | 'preparing' | 'freezing' | 'sealed' | 'thawing' | 'closed';
export type Step = 'own' | 'begin' | 'freeze' | 'seal' | 'thaw' | 'resume' | 'close';

/** Where each step leads; `'before'`: to the state in which the handover began. */
export const TRANSITIONS: Readonly<Record<StateName, Readonly<Partial<Record<Step, StateName | 'before'>>>>> =
  {
    trial: { own: 'owner', begin: 'preparing', close: 'closed' },
    guest: { begin: 'preparing', close: 'closed' },
    owner: { begin: 'preparing', close: 'closed' },
    preparing: { freeze: 'freezing', resume: 'before', close: 'closed' },
    freezing: { seal: 'sealed', thaw: 'thawing', resume: 'before', close: 'closed' },
    sealed: { thaw: 'thawing', close: 'closed' },
    thawing: { resume: 'before', close: 'closed' },
    closed: {},
  };

export class MachineState {
  #name: StateName;
  #before: RunningState;

  constructor(name: RunningState) {
    this.#name = name;
    this.#before = name;
  }

  get name(): StateName {
    return this.#name;
  }

  /** How it runs, or ran when the handover began. */
  get tenure(): RunningState {
    return this.#before;
  }

  get isRunning(): boolean {
    return TRANSITIONS[this.#name].begin !== undefined;
  }

  /** A question of its own, because a machine may be closed wherever something is awaited. */
  get isClosed(): boolean {
    return this.#name === 'closed';
  }

  /** Whether a step can be taken now. */
  can(step: Step): boolean {
    return TRANSITIONS[this.#name][step] !== undefined;
  }

  /**
   * Takes a step.
   *
   * @throws KernelError EBADF: the machine is closed. EBUSY: a handover begins, and one is on its
   * way
   */
  take(step: Step): void {
    const next = TRANSITIONS[this.#name][step];
    if (next === undefined) throw this.#refusal(step);
    this.#name = next === 'before' ? this.#before : next;
    if (this.#name === 'trial' || this.#name === 'guest' || this.#name === 'owner') this.#before = this.#name;
  }

  #refusal(step: Step): KernelError {
    if (this.isClosed) return new KernelError('EBADF', 'this machine is closed');
    assert(step === 'begin', `no ${step} while a machine is ${this.#name}`);
    return new KernelError('EBUSY', 'the handover is on its way');
  }
}
