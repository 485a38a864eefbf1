/**
 * What a file handler is: the code that carries one kind of open file into the next kernel (kernel: struct liveupdate_file_ops).
 *
 * LUO guarantees: callbacks never overlap; preserve, then at most one of freeze and unpreserve at a time; unfreeze only after
 * freeze; retrieve at most once; finish last, once. Every callback but canPreserve and getId may return a promise. None may wait for a call on a
 * session or on the orchestrator: that call waits for the callback.
 */

/** What LUO calls where a file counts its references. */
interface Counted {
  /** Takes a reference: LUO holds one while the file is preserved, and one from retrieval to finish. */
  get?(): void;
  /** Drops a reference. */
  put?(): void;
}

/** A file is any object. One without get and put lives as long as its owner keeps it. */
export type PreservableFile = object & Counted;

/** What became of retrieving a file: kernel `retrieve_status` 0, 1 and negative. */
export type Retrieval = 'untried' | 'done' | 'failed';

export type MaybePromise<T> = T | Promise<T>;

/** The handler's own number for a file: mostly the physical address of a preserved record. At the API a bigint; numbers are accepted. */
export type HandlerData = bigint | number;

export interface PreserveContext<F> {
  readonly file: F;
}

export interface OutgoingContext<F> {
  readonly file: F;
  /** What preserve, or a later freeze, gave. */
  readonly data: bigint;
}

export interface RetrieveContext {
  readonly data: bigint;
  /** The compatible string in the record: the handler's own, or one of `alsoReads`. */
  readonly compatible: string;
}

export interface FinishContext<F> extends RetrieveContext {
  readonly retrieval: Retrieval;
  /** The retrieved file; present exactly where retrieval is `'done'`. */
  readonly file?: F;
}

export interface FileHandler<F extends PreservableFile = PreservableFile> {
  /** Names the format of this handler's data, with its version: 1 to 47 bytes, such as `'memfd-v2'`. */
  readonly compatible: string;
  /** Older formats that retrieve and finish understand too. Only `compatible` is written. */
  readonly alsoReads?: readonly string[];
  /** Whether this handler takes the file. The first registered handler that says yes gets it. */
  canPreserve(file: PreservableFile): file is F;
  /** What makes two descriptions the same file (a memfd: its inode). Default: the file object itself. */
  getId?(file: F): unknown;
  /** Saves the file while work on it goes on. A throw must leave nothing behind; it is passed to the caller. */
  preserve(context: PreserveContext<F>): MaybePromise<{ data: HandlerData }>;
  /** The last moment before the handover. May give new data. A throw calls the handover off. */
  freeze?(context: OutgoingContext<F>): MaybePromise<{ data: HandlerData } | undefined>;
  /** The inverse of freeze, where the handover was called off. A throw keeps nobody else from being unfrozen. */
  unfreeze?(context: OutgoingContext<F>): MaybePromise<void>;
  /** The exact inverse of preserve. After a throw the file counts as preserved still, and may be unpreserved again. */
  unpreserve(context: OutgoingContext<F>): MaybePromise<void>;
  /**
   * In the next kernel: makes the file again. Runs at most once; a throw is remembered, and must leave nothing of the file behind: finish comes with
   * `'failed'` then, and has nothing to free.
   */
  retrieve(context: RetrieveContext): MaybePromise<F>;
  /** Whether finish may run now. One 'no' refuses the whole session's finish (EBUSY), a throw too. */
  canFinish?(context: FinishContext<F>): MaybePromise<boolean>;
  /**
   * Lets go of what the previous kernel left. Where retrieval is `'untried'`, the file is discarded and its memory freed. A throw is passed on once
   * all files of the session are finished; it is not tried again.
   */
  finish(context: FinishContext<F>): MaybePromise<void>;
}
