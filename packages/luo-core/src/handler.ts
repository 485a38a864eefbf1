/**
 * What a file handler is: the code that carries one kind of open file into the next kernel (kernel:
 * struct liveupdate_file_ops).
 *
 * The life of one file, and which callbacks pair:
 *
 *     this kernel    canPreserve, getId, preserve ──┬── unpreserve
 *                                                   └── freeze ──┬── unfreeze
 *                                                                └── (the next kernel takes over)
 *     next kernel    retrieve (where somebody asks) ── canFinish ── finish
 *
 * Any kernel may die at any instruction. What was published by then is what the next one finds: of
 * a file that is preserved, its `data`, and what its record names as it is in memory in that
 * moment.
 *
 * After unpreserve the file is as if it had never been preserved. unfreeze means that the handover
 * was called off: it is preserved as before.
 *
 * LUO guarantees:
 * - Callbacks never overlap: not for one file, not for two, not with those of an FLB. A promise is
 *   waited for before the next callback runs.
 * - A file is preserved once at a time: between preserve and unpreserve no other preserve runs for
 *   the same id (see getId).
 * - preserve, unpreserve, freeze and unfreeze get the same file object; LUO holds it (see Counted)
 *   from before preserve until after unpreserve.
 * - `data` is a u64 and what preserve, or a later freeze, gave; in the next kernel it is read from
 *   the record, and may be any u64 if that record comes from elsewhere: a handler that takes it for
 *   an address lets `kho.at` and the like check it.
 * - In one kernel retrieve runs at most once for a record, and finish at most once and last. Both
 *   may run again in the next one, where this one dies before finish is published: it finds the
 *   record as this one did, whatever was retrieved, and whatever finish freed.
 * - What a callback frees of published memory stays as it is, used by nobody, until the change that
 *   it is part of is published: for preserve, unpreserve, freeze and checkpoint that is when they
 *   have ended, for retrieve and finish when the session is finished.
 *
 * What a handler must keep to:
 * - canPreserve and getId answer at once. Every other callback may return a promise, which must
 *   end: LUO waits for it, unless `callbackTimeLimit` is set (then ETIMEDOUT, as if the callback
 *   had thrown).
 * - No callback may wait for a call on a session or on the orchestrator: that call waits for the
 *   callback.
 * - A callback that throws leaves everything as it was before it, unless it says otherwise below.
 *   What it throws is passed on as it is; KernelErrors are welcome, any error will do.
 * - A callback that has ended has ended: nothing of it goes on after it returned, or after its
 *   promise was resolved. Nobody waits for that, and the next thing may be the next kernel.
 * - A wrong result gets a KernelError (EINVAL; EIO from retrieve) that names the handler, the
 *   callback and the rule, and counts as if the callback had thrown it.
 *
 * Memory, and what may be done with it when:
 * - In this kernel, pages that a handler marked (`kho.allocPreserve`, `kho.preserveFolio` and their
 *   kin) stay in use at their place. They may be written until the handover: the next kernel finds
 *   what they hold then. They must not be freed before they are unpreserved.
 * - In the next kernel a marked page has no owner. It may be read (`kho.at`), and nothing more,
 *   until somebody restores it: once, and from then on it is that one's to free. One that nobody
 *   restores stays out of use.
 * - What a record names stays as it is until it is finished, byte by byte, restored or freed as it
 *   may be: should this process die, another one goes on from it. So no callback writes into what
 *   another kernel recorded: neither retrieve, nor finish, nor a preserve of the retrieved file.
 *   `kho.isCommitted` tells whether the handover is consumed, and `kho.whenCommitted(work)` runs
 *   what has to wait for that. (A `Machine` consumes it when its event loop first turns, and never
 *   where it keeps the handover; memory that is freed before is not used again until then. What
 *   users write into a retrieved file is not the handler's matter.)
 * - What this kernel recorded may be changed in place by one aligned word of 8 bytes, or by words
 *   that are right each by itself. For everything else freeze and checkpoint leave the old record
 *   valid and give new `data`; the old one may be freed (see above).
 * - Folios that are taken over in a callback of a file belong to that file, and go with its
 *   session. Memory that several files share belongs into an FLB.
 * - Memory that was freed is used by nobody: not by a file that was retrieved from it either.
 * - Pages come in no order, and do not lie side by side: a record lists them as they are to be
 *   taken.
 * - Nothing but memory and `data` goes to the next kernel, which is another process: no variable of
 *   a module does.
 */
import type { HandlerData, MaybePromise } from './callback-types.ts';
import type { FileLifecycleBound, FlbObjects } from './flb.ts';

/**
 * What LUO calls where a file counts its references: `OpenFile` of @liveupdate/base has all four.
 * While a file is preserved, and from retrieval to finish, LUO holds it by `hold`, where the file
 * has that and `unhold`, and by `get` and `put` else: then a user who closes the file once too
 * often takes the reference of LUO.
 */
export interface Counted {
  /** Takes a reference of a user: whoever retrieves a file gets one. EBADF where it is closed. */
  get?(): void;
  /**
   * Drops one, the one that the file came with from retrieve among them. What it throws is not
   * looked at: nothing is left to drop then.
   */
  put?(): void;
  /** Keeps the file open whatever its users close. EBADF where it is closed. */
  hold?(): void;
  /** Takes back one hold. Must not throw. */
  unhold?(): void;
}

/** A file is any object. One without get and put lives as long as its owner keeps it. */
export type PreservableFile = object & Counted;

/** What became of retrieving a file: kernel `retrieve_status` 0, 1 and negative. */
export type Retrieval = 'untried' | 'done' | 'failed';

/** What every callback gets. */
interface Context {
  /** The live objects of the handler's FLBs. */
  readonly flbs: FlbObjects;
}

export interface PreserveContext<F> extends Context {
  readonly file: F;
}

export interface PreserveAllContext<F> extends Context {
  /** At least one, each another one, in the order in which they were given. */
  readonly files: readonly F[];
}

export interface OutgoingContext<F> extends Context {
  readonly file: F;
  /** What preserve, or a later freeze, gave. */
  readonly data: bigint;
}

export interface RetrieveContext extends Context {
  readonly data: bigint;
  /** The compatible string in the record: the handler's own, or one of `alsoReads`. */
  readonly compatible: string;
}

export interface FinishContext<F> extends RetrieveContext {
  readonly retrieval: Retrieval;
  /** The retrieved file; present exactly where retrieval is `'done'`. */
  readonly file?: F;
}

/**
 * A file handler: a plain object, mostly from a factory that is given what it needs
 * (`memfdHandler({ kho, shmem })`).
 *
 * @typeParam F the files that it takes; canPreserve is what proves that a file is one
 */
export interface FileHandler<F extends PreservableFile = PreservableFile> {
  /**
   * Names the format of this handler's data, with its version: 1 to 47 bytes, such as `'memfd-v2'`.
   * Unique among the registered handlers.
   */
  readonly compatible: string;
  /**
   * Older formats that retrieve and finish understand too. Only `compatible` is written. A handler
   * of that very name goes first.
   */
  readonly alsoReads?: readonly string[];
  /** FLBs to register with this handler; `registerFlb` does the same later. */
  readonly flbs?: readonly FileLifecycleBound[];

  /**
   * Whether this handler takes the file. Runs at preserve, on any object that a user passes, for
   * one handler after the other in order of registration: the first that says yes gets it. It must
   * look only, and answer `true` or `false`. A throw ends the preserve; nothing has changed.
   */
  canPreserve(file: PreservableFile): file is F;

  /**
   * What makes two descriptions the same file (a memfd: its inode): any value but undefined and
   * null, compared as in a Set. Runs after canPreserve. Default: the file object itself. A throw
   * ends the preserve; nothing has changed.
   */
  getId?(file: F): unknown;

  /**
   * Saves the file while work on it goes on; returns the number that the next kernel finds in the
   * record. What it saves is whole: freeze never comes where this kernel dies. Runs when the token,
   * the room for the record, the id and the FLBs are all assured: nothing that LUO does after it
   * can fail. A throw must leave nothing behind. Pairs with unpreserve here, and with finish in the
   * next kernel.
   */
  preserve(context: PreserveContext<F>): MaybePromise<{ data: HandlerData }>;

  /**
   * Saves many files in one step; where it is missing, or FLBs count the files, preserve runs for
   * each. What it leaves of each file, and the number that it returns for it, are what preserve
   * would leave and return. Worth having where files are many and small. All or none: a throw must
   * leave nothing behind of any of them.
   */
  preserveAll?(context: PreserveAllContext<F>): MaybePromise<readonly { data: HandlerData }[]>;

  /**
   * The exact inverse of preserve, and of each freeze since: by token, or as its session is closed,
   * last preserved first. The file may have changed since: what was preserved is what counts. Never
   * runs while the file is frozen. After a throw the file counts as preserved still, with the
   * same data, and may be unpreserved again.
   */
  unpreserve(context: OutgoingContext<F>): MaybePromise<void>;

  /**
   * The last moment before the handover: nothing of LUO changes any more, and after the last freeze
   * the next thing that happens may be the next kernel. May give new data. The file may have
   * changed since preserve, and since a freeze whose handover was called off: it is recorded as it
   * is now. What it writes in place is one aligned word of 8 bytes at most, or words that are right
   * each by itself; else it gives new data, and the old stays valid until LUO publishes the new.
   * Runs per session in order of creation, per file in order of preservation. A throw calls the
   * handover off: this file counts as not frozen, those before it are unfrozen in reverse, the old
   * kernel runs on, and the next attempt freezes anew.
   */
  freeze?(context: OutgoingContext<F>): MaybePromise<{ data: HandlerData } | undefined>;

  /**
   * Brings what is recorded of a preserved file up to date, for whoever comes after a kernel that
   * dies: what changes beside memory, such as a position. As freeze, but that work goes on
   * afterwards; called where somebody asks for a checkpoint, any number of times. May give new
   * data: the old stays valid until the new is published, with that of all other files in one step.
   * What it writes into memory that preserve took, in place, is one aligned word of 8 bytes at
   * most, or words that are right each by itself. A throw leaves the file as it was recorded
   * before.
   */
  checkpoint?(context: OutgoingContext<F>): MaybePromise<{ data: HandlerData } | undefined>;

  /**
   * The inverse of freeze, where the handover was called off: the file can be worked on, and frozen
   * again, as before. What users changed stays changed. Needed where freeze does more than write
   * into what preserve took: where it locks, or takes what the next freeze takes anew. Runs for
   * each file whose freeze ended well, last first. A throw keeps nobody else from being unfrozen,
   * and the file counts as unfrozen.
   */
  unfreeze?(context: OutgoingContext<F>): MaybePromise<void>;

  /**
   * In the next kernel: makes the file again, when somebody asks for its token. Runs at most once
   * there, and again in the one after that where this one dies before the session is finished.
   * The file comes with one reference, which LUO keeps until finish, and drops itself. A throw is
   * remembered, and must leave nothing of the file behind: finish comes with `'failed'` then, and
   * has nothing to free.
   */
  retrieve(context: RetrieveContext): MaybePromise<F>;

  /**
   * Whether finish may run now: `true` or `false`. It must look only. Asked of every file of the
   * session before the first finish. One 'no' refuses the whole session's finish (EBUSY), a throw
   * too; nothing has changed, and all are asked again the next time.
   */
  canFinish?(context: FinishContext<F>): MaybePromise<boolean>;

  /**
   * Lets go of what the previous kernel left. Runs once in a kernel, last preserved first, whether
   * the file was retrieved or not. Where retrieval is `'untried'`, the file is discarded and its
   * memory freed. A throw is passed on once all files of the session are finished; it is not tried
   * again.
   */
  finish(context: FinishContext<F>): MaybePromise<void>;
}
