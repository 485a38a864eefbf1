/**
 * What the suite is told: the handler, how to make its files, how to change one and how to compare
 * two.
 */
import type { Kho, PreservedBlock } from '@liveupdate/kho';
import type { FdStore, FileHandler, MaybePromise, PreservableFile } from '@liveupdate/luo-core';
import type { PageAllocator, Ram } from '@liveupdate/mm';
import type { Shmem } from '@liveupdate/shmem';

/** What handlers and files are made from: the subsystems of one kernel generation. */
export interface KernelParts {
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly kho: Kho;
  readonly shmem: Shmem;
  /** Carries descriptors; there in a real handover only. */
  readonly fds?: FdStore | undefined;
}

/**
 * `describe` and `it` of Vitest, of node:test, or of any runner that has them in this shape. A time
 * limit in ms comes with each test. Where the test's context can skip, as theirs can, tests that
 * another one's fault keeps from being judged are skipped, with the reason.
 */
export interface TestRunner {
  readonly describe: (name: string, define: () => void) => unknown;
  readonly it: (name: string, run: (context?: unknown) => Promise<void>, timeLimit: number) => unknown;
}

/** A real handover, where the runner can make one: see `@liveupdate/handler-testkit/processes`. */
export interface ProcessRunner {
  /**
   * Whether this process is a generation that such a handover started: then it plays its part, and
   * defines no tests.
   */
  readonly isGeneration: boolean;
  /** Plays the part of this process. */
  play<F extends PreservableFile>(suite: FileHandlerSuite<F>, title: string): void;
  /**
   * One test for each kind of handover: its name, and the run that rejects where something is
   * wrong.
   */
  scenarios(title: string): readonly { readonly name: string; readonly run: () => Promise<void> }[];
}

/** An older format that the handler declares to read: the handler as it was, which writes it. */
export interface OlderFormat<F extends PreservableFile> {
  readonly handler: (parts: KernelParts) => FileHandler<F>;
  /** As the suite's `same`, where the older format cannot keep all that the newer one keeps. */
  readonly same?: (actual: F, expected: F) => MaybePromise<boolean>;
}

/** What the suite is told of the state of one FLB of the handler. */
export interface FlbState {
  /**
   * Whether two live objects of the FLB (what its preserve and its retrieve give) are the same, as
   * far as a handover must keep them.
   *
   * @param actual what retrieve made in the next kernel
   * @param expected what the kernel before had at its handover
   */
  same(actual: unknown, expected: unknown): MaybePromise<boolean>;
  /**
   * Whether the state that arrived goes on: what preserve gives for the files that were retrieved
   * is the same then as what retrieve gave. Default `true`; `false` where each generation begins
   * its own, or where preserving a file changes it.
   */
  readonly goesOn?: boolean;
}

export interface FileHandlerSuite<F extends PreservableFile> {
  readonly test: TestRunner;
  /** Makes the handler under test, once for each kernel generation. */
  readonly handler: (parts: KernelParts) => FileHandler<F>;
  /** Makes a file. Each time one of its own, and always with the same content. */
  readonly make: (parts: KernelParts) => MaybePromise<F>;
  /**
   * Changes the file: each change leaves another content than all before, and the same content in
   * every file changed as often.
   */
  readonly change: (file: F) => MaybePromise<void>;
  /** Whether two files have the same content and state, as far as a handover must keep them. */
  readonly same: (actual: F, expected: F) => MaybePromise<boolean>;
  /** Drops the owner's reference; default `put()`, where the file has it. */
  readonly release?: (file: F) => MaybePromise<void>;
  /**
   * How to compare the state of the handler's FLBs, by their compatible strings. Write the
   * parameters of `same` with their type: `{ same: (actual: Roll, expected: Roll) => ... }`.
   */
  readonly flbs?: Readonly<Record<string, FlbState>>;
  /** One for each string in the handler's `alsoReads`. */
  readonly older?: readonly OlderFormat<F>[];
  /**
   * Damages to the record at `data` that retrieve must refuse, by name, besides those that the
   * suite knows of itself.
   */
  readonly damage?: Readonly<Record<string, (record: PreservedBlock) => void>>;
  /** The handover from process to process too: `processes(import.meta.url)`. */
  readonly processes?: ProcessRunner;
  /**
   * Whether its files outlive a process that dies: not where the system ends them then, as it
   * closes descriptors. Default true.
   */
  readonly survivesDeath?: boolean;
  /** Title of the suite, unique in its file; default the handler's compatible string. */
  readonly title?: string;
  /** Bytes of RAM; default 2 MiB. */
  readonly ramSize?: number;
  /** Milliseconds that a callback, and each function here, may take; default 2,000. */
  readonly timeLimit?: number;
}
