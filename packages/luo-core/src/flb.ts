/**
 * What an FLB is: state shared by many files, alive from the first of them to the last (kernel:
 * struct liveupdate_flb). An IOMMU domain that many devices sit in, a directory that many files lie
 * in: it must come back once, before the first of its files, and go with the last.
 *
 * An FLB is registered with one or more handlers. Every preserved file of any of them counts:
 *
 *     this kernel    preserve ──┬── unpreserve
 *                               └── (data and count are in the record, the next kernel takes over)
 *     next kernel    retrieve ── finish
 *
 * preserve comes before that of the first file, unpreserve and finish after those of the last;
 * retrieve once, where somebody asks, and at the latest before finish.
 *
 * There is no freeze: what preserve gave as data is what the record says. State that changes later
 * must be written to the memory that preserve took, as it changes, or by the freeze of a handler.
 * What handlers may do with memory (handler.ts) holds for FLBs too.
 *
 * A second generation has two of an FLB: the one that came, until the last file of the previous
 * kernel is finished, and the one that goes, from the first file that is preserved here. preserve
 * runs anew for that, and goes on with what came where it asks for it (`incoming`), or where the
 * FLB keeps the live object itself, beyond finish. A generation that preserves no file of its
 * handlers hands nothing on.
 *
 * LUO guarantees: no callback of an FLB overlaps another callback of anybody, but retrieve, which
 * may run inside a callback of a file handler that asks for the object, or of this FLB's preserve.
 * preserve and unpreserve take turns; retrieve runs at most once, finish at most once and last. An
 * FLB whose retrieve failed is not finished.
 *
 * An incoming FLB that nobody registered stays: its record is read with the rest, what its data
 * names is not touched, and the next handover drops it. Register an FLB before the first of its
 * files is finished: files that were finished earlier are not counted, and it would stay too.
 */
import { KernelError } from '@liveupdate/base';
import type { HandlerData, MaybePromise } from './callback-types.ts';

export interface FlbPreserveContext<T> {
  /**
   * What came from the previous kernel: retrieve runs now, where nobody has asked yet. Undefined
   * where it left none, or where that is finished.
   *
   * @throws what retrieve threw, now or when it was asked first. KernelError EIO: what the previous
   * kernel left cannot be read. The promise is rejected, or the call throws, as the FLB does.
   */
  readonly incoming: () => MaybePromise<T | undefined>;
}

export interface FlbOutgoingContext<T> {
  /** What preserve gave. */
  readonly object: T;
  readonly data: bigint;
}

export interface FlbRetrieveContext {
  readonly data: bigint;
  /** The string in the record: the FLB's own, or one of `alsoReads`. */
  readonly compatible: string;
}

export interface FlbFinishContext<T> extends FlbRetrieveContext {
  /** What retrieve gave. */
  readonly object: T;
}

/**
 * @typeParam T the live object, of whatever type; `undefined` where there is none and the data is
 * all
 */
export interface FileLifecycleBound<T = unknown> {
  /** Names the format of the data: 1 to 47 bytes, unique among the registered FLBs. */
  readonly compatible: string;
  /** Older formats that retrieve understands too. */
  readonly alsoReads?: readonly string[];

  /**
   * Saves the state, for the first file: makes it, or goes on with what came. Runs after that
   * file's id was found free and before its handler's preserve. A throw must leave nothing behind:
   * it fails that file's preserve, and FLBs counted for it already are put back.
   */
  preserve(context: FlbPreserveContext<T>): MaybePromise<{ data: HandlerData; object: T }>;

  /**
   * The exact inverse, after the last file is unpreserved (or as its preserve failed). After a
   * throw the state stays preserved without a file: the next file takes it on without a preserve,
   * and when that one goes, unpreserve runs again. The file that went stays unpreserved.
   */
  unpreserve(context: FlbOutgoingContext<T>): MaybePromise<void>;

  /**
   * In the next kernel: makes the state again, once. A throw is remembered (asking again gives the
   * same error), must leave nothing behind, and finish does not come then.
   */
  retrieve(context: FlbRetrieveContext): MaybePromise<T>;

  /**
   * Lets go of it, when the count that was carried over has reached zero. Comes after the last
   * file's finish, and after retrieve, which runs right before it where nobody had asked. Runs
   * once; a throw is passed on with those of the session's files.
   */
  finish(context: FlbFinishContext<T>): MaybePromise<void>;
}

/** The live objects, for the callbacks of file handlers. */
export interface FlbObjects {
  /**
   * What the FLB's preserve gave.
   *
   * @throws KernelError EINVAL: not registered. ENODATA: no file of its handlers is preserved.
   */
  outgoing<T>(flb: FileLifecycleBound<T>): T;

  /**
   * What the FLB's retrieve gives: it runs when this is called for the first time.
   *
   * @throws KernelError EINVAL: not registered. ENOENT: the previous kernel left none of this
   * string. ENODATA: it is finished, or there was no previous kernel with LUO. What its retrieve
   * threw, now or when it was asked first. The promise is rejected, or the call throws, as the FLB
   * does.
   */
  incoming<T>(flb: FileLifecycleBound<T>): MaybePromise<T>;
}

function notRegistered(flb: { readonly compatible: string }): never {
  throw new KernelError('EINVAL', `FLB '${flb.compatible}' is not registered`);
}

/** No FLBs at all: for calling a handler's callbacks without LUO. */
export const NO_FLBS: FlbObjects = { outgoing: notRegistered, incoming: notRegistered };
