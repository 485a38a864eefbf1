/**
 * Watches the callbacks of a handler, and of the FLBs that it names, in one kernel generation:
 * which one runs, how often, and what it does wrong, also where LUO does not pass that on.
 */
import { AssertionError, KernelError } from '@liveupdate/base';
import type { Kho } from '@liveupdate/kho';
import type { FileHandler, FileLifecycleBound, FlbObjects, PreservableFile } from '@liveupdate/luo-core';
import {
  CALLBACKS,
  FLB_CALLBACKS,
  HandlerFault,
  textOf,
  type CallbackName,
  type OwnedCallback,
  type Owner,
} from './fault.ts';
import { MemoryWatch } from './memory-watch.ts';

/** Looks at what an FLB made, before anybody else can change it; throws where it is not right. */
interface FlbChecks {
  /** After preserve, where something came from the previous kernel: with the object of that. */
  preserved(flb: FileLifecycleBound, object: unknown, arrived: unknown): Promise<void>;
  /** After retrieve. */
  retrieved(flb: FileLifecycleBound, object: unknown): Promise<void>;
}

/** What is done to a handler on purpose. */
export interface Tampering {
  /** Runs before each callback of the handler or of an FLB, and may throw in its place. */
  readonly before?: ((callback: CallbackName, kind: Owner['kind']) => void) | undefined;
  /** What is looked at when an FLB has made its live object. */
  readonly flbs?: FlbChecks | undefined;
  /** Gives the handler another number in the next kernel than it gave in this one. */
  readonly data?: ((data: bigint) => bigint) | undefined;
  /**
   * What it reads is damaged: to be refused by KHO is no fault then, and what it frees twice may be
   * what a record names twice.
   */
  readonly isDamaged?: boolean;
}

const IN_NEXT_KERNEL: ReadonlySet<string> = new Set(['retrieve', 'canFinish', 'finish']);

/** What callbacks get, as far as it is looked at here. */
interface SomeContext {
  readonly data?: bigint;
  readonly flbs?: FlbObjects;
}

export class Watch {
  readonly compatible: string;
  readonly memory: MemoryWatch;
  /** The faults of all callbacks, also those that LUO does not pass on. */
  readonly faults: HandlerFault[] = [];
  /** How often each callback of the handler ran. */
  readonly calls = new Map<CallbackName, number>();
  /** The FLBs that the handler names, as LUO knows them here. */
  readonly flbs = new Map<string, FileLifecycleBound>();
  /** The same by what the handler calls them. */
  readonly #watched = new Map<FileLifecycleBound, FileLifecycleBound>();
  /** Which callback threw an error. */
  readonly #thrownBy = new WeakMap<object, OwnedCallback>();
  #isDamaged = false;

  constructor(compatible: string, kho: Kho) {
    this.compatible = compatible;
    this.memory = new MemoryWatch(kho);
  }

  /** A callback of the handler. */
  ownerOf(callback: CallbackName): OwnedCallback {
    return { kind: 'handler', compatible: this.compatible, callback };
  }

  /** The fault of a callback that ended, for a test to throw. */
  fault(callback: CallbackName, rule: string, cause?: unknown): HandlerFault {
    return new HandlerFault(this.ownerOf(callback), rule, { cause });
  }

  /** The callback that threw an error, if one did. */
  throwerOf(error: unknown): OwnedCallback | undefined {
    return typeof error === 'object' && error !== null ? this.#thrownBy.get(error) : undefined;
  }

  /** Throws the first fault that was noted. */
  check(): void {
    if (this.faults.length > 0) throw this.faults[0];
  }

  /** The handler, with its callbacks and those of its FLBs watched. */
  handler<F extends PreservableFile>(
    handler: FileHandler<F>,
    { before, flbs, data, isDamaged = false }: Tampering = {},
  ): FileHandler<F> {
    this.#isDamaged = isDamaged;
    const owner: Owner = { kind: 'handler', compatible: this.compatible };
    const watched: Record<string, unknown> = { ...handler, compatible: handler.compatible };
    if (handler.alsoReads) watched.alsoReads = handler.alsoReads;
    if (handler.flbs) watched.flbs = handler.flbs.map((flb) => this.#flb(flb, { before, flbs }));
    this.#wrap(handler, owner, watched, {
      names: CALLBACKS,
      before,
      context: (name, context) => ({
        ...this.#withFlbs(context),
        ...(data && IN_NEXT_KERNEL.has(name) && context.data !== undefined && { data: data(context.data) }),
      }),
    });
    return watched as unknown as FileHandler<F>;
  }

  #flb(flb: FileLifecycleBound, { before, flbs }: Tampering): FileLifecycleBound {
    const known = this.#watched.get(flb);
    if (known) return known;
    const { compatible } = flb;
    const watched: Record<string, unknown> = { ...flb, compatible };
    if (flb.alsoReads) watched.alsoReads = flb.alsoReads;
    this.#wrap(flb, { kind: 'FLB', compatible }, watched, {
      names: FLB_CALLBACKS,
      before,
      context: (_, context) => context,
    });
    const result = watched as unknown as FileLifecycleBound;
    if (flbs) withChecks(result, flbs);
    this.#watched.set(flb, result);
    this.flbs.set(compatible, result);
    return result;
  }

  /** Whoever asks for an FLB knows it as it was before it was watched. */
  #withFlbs<C extends SomeContext>(context: C): C {
    const { flbs } = context;
    if (!flbs) return context;
    const watchedOf = <T>(flb: FileLifecycleBound<T>) =>
      (this.#watched.get(flb) ?? flb) as FileLifecycleBound<T>;
    const asked: FlbObjects = {
      outgoing: (flb) => flbs.outgoing(watchedOf(flb)),
      incoming: (flb) => flbs.incoming(watchedOf(flb)),
    };
    return { ...context, flbs: asked };
  }

  /** Puts watched callbacks over those of `given`: the known ones, and whatever else it has. */
  #wrap(
    given: object,
    owner: Owner,
    watched: Record<string, unknown>,
    {
      names,
      before,
      context,
    }: {
      names: readonly CallbackName[];
      before: Tampering['before'];
      context: (name: string, context: SomeContext) => SomeContext;
    },
  ): void {
    const own = Object.keys(given).filter((name) => typeof Reflect.get(given, name) === 'function');
    for (const name of new Set([...names, ...own]) as Set<CallbackName>) {
      const callback: unknown = Reflect.get(given, name);
      if (typeof callback !== 'function') continue;
      const isAsking = name === 'canPreserve' || name === 'getId'; // these get a file, and may get anything
      watched[name] = (...args: unknown[]): unknown => {
        before?.(name, owner.kind);
        const passed = isAsking ? args : args.map((arg) => context(name, arg as SomeContext));
        return this.#during({ ...owner, callback: name }, () => Reflect.apply(callback, given, passed));
      };
    }
  }

  /** An FLB's retrieve may run inside a callback of the handler, which goes on afterwards. */
  #during(callback: OwnedCallback, work: () => unknown): unknown {
    const { memory } = this;
    if (callback.kind === 'handler')
      this.calls.set(callback.callback, (this.calls.get(callback.callback) ?? 0) + 1);
    const outer = memory.current;
    memory.current = callback;
    memory.misuse = undefined;
    const ended = () => {
      memory.current = outer;
    };
    let result: unknown;
    try {
      result = work();
    } catch (error) {
      ended();
      throw this.#asFault(callback, error);
    }
    // A promise of another realm, or of a library, too.
    if (Object(result) !== result || !('then' in (result as object))) {
      ended();
      return result;
    }
    return Promise.resolve(result).then(
      (value: unknown) => {
        ended();
        return value;
      },
      (error: unknown) => {
        ended();
        throw this.#asFault(callback, error);
      },
    );
  }

  /** What a callback threw, as a fault where it is one. */
  #asFault(callback: OwnedCallback, error: unknown): unknown {
    if (error instanceof HandlerFault) return error; // of an FLB that it asked for
    const misuse = this.#isDamaged && error instanceof KernelError ? undefined : this.memory.misuse;
    const rule =
      misuse ??
      (error instanceof AssertionError
        ? `misuses memory: ${error.message.replace(/^liveupdate bug: /, '')}`
        : undefined);
    if (rule === undefined) {
      if (typeof error === 'object' && error !== null && !this.#thrownBy.has(error))
        this.#thrownBy.set(error, callback);
      return error;
    }
    const fault = new HandlerFault(callback, rule, { cause: error });
    this.faults.push(fault);
    return fault;
  }
}

function withChecks(flb: FileLifecycleBound, checks: FlbChecks): void {
  const preserve = flb.preserve.bind(flb);
  flb.preserve = async (context) => {
    const preserved = await preserve(context);
    const arrived = await context.incoming();
    if (arrived !== undefined) await checks.preserved(flb, preserved.object, arrived);
    return preserved;
  };
  const retrieve = flb.retrieve.bind(flb);
  flb.retrieve = async (context) => {
    const object = await retrieve(context);
    await checks.retrieved(flb, object);
    return object;
  };
}

/** How LUO says that a callback broke a rule. */
const BROKEN_RULE = /(handler|FLB) '(.*?)': (\w+)\(\) (must .*)$/s;

/** Whether it is what LUO throws for a callback whose promise does not end. */
export function isTimeout(error: unknown): boolean {
  return error instanceof KernelError && error.code === 'ETIMEDOUT' && BROKEN_RULE.test(error.message);
}

/**
 * An error that ended a step which must succeed, as a fault.
 *
 * @param callback whose fault it is where nothing else is known
 */
export function asFault(watch: Watch, callback: CallbackName, error: unknown): HandlerFault {
  if (error instanceof HandlerFault) return error;
  const broken = error instanceof KernelError ? BROKEN_RULE.exec(error.message) : null;
  if (broken) {
    const [, kind, compatible, name, rule] = broken;
    const by = { kind: kind as Owner['kind'], compatible, callback: name as CallbackName };
    return new HandlerFault(by, rule, { cause: error });
  }
  const rule = `throws where nothing is wrong: ${textOf(error)}`;
  const by = watch.throwerOf(error);
  return by ? new HandlerFault(by, rule, { cause: error }) : watch.fault(callback, rule, error);
}
