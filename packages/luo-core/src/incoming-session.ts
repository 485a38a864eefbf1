/**
 * A session that the previous kernel left (kernel: kernel/liveupdate/luo_session.c, luo_file.c).
 *
 * Happy: retrieve each file, in any order, then finish. A file never retrieved is discarded by finish. Success and failure of a retrieval
 * are remembered; finish is all or nothing in its asking.
 */
import { KernelError } from '@liveupdate/base';
import type { FileHandler, FinishContext, PreservableFile, Retrieval } from './handler.ts';
import type { Mutex } from './mutex.ts';
import { checkToken } from './outgoing-session.ts';
import type { FileRecord, SessionRecord } from './read-luo.ts';

export interface IncomingShared {
  readonly mutex: Mutex;
  handlerFor(record: FileRecord): FileHandler;
  /** Throws EBUSY while, and after, the handover is made. */
  checkRunning(): void;
  forget(session: IncomingSession): void;
}

interface IncomingFile {
  readonly record: FileRecord;
  readonly handler: FileHandler;
  retrieval: Retrieval;
  file: PreservableFile | undefined;
  error: unknown;
}

/** What a tool may know of an incoming file. */
export interface IncomingFileInfo {
  readonly token: bigint;
  readonly compatible: string;
  readonly data: bigint;
  readonly retrieval: Retrieval;
}

export class IncomingSession {
  readonly name: string;
  readonly #shared: IncomingShared;
  readonly #files = new Map<bigint, IncomingFile>();
  #state: 'open' | 'finished' = 'open';

  /** @internal Made when the incoming state is read. */
  constructor(record: SessionRecord, shared: IncomingShared) {
    this.name = record.name;
    this.#shared = shared;
    for (const file of record.files) {
      this.#files.set(file.token, {
        record: file,
        handler: shared.handlerFor(file),
        retrieval: 'untried',
        file: undefined,
        error: undefined,
      });
    }
  }

  /** The files, in the order in which they were preserved. */
  get files(): IncomingFileInfo[] {
    return Array.from(this.#files.values(), ({ record, retrieval }) => ({ ...record, retrieval }));
  }

  /**
   * The file under a token, made again by its handler. Asking again gives the same file with another reference.
   *
   * @param type the class that the file must be of; without it, any file
   * @throws KernelError ENOENT: no such token. EINVAL: the session is finished, or the file is not of this class. EBUSY: the handover is
   * on its way. Whatever the handler threw, now or when it was asked first.
   */
  retrieve(token: bigint | number): Promise<PreservableFile>;
  retrieve<F extends PreservableFile>(
    token: bigint | number,
    type: abstract new (...args: never[]) => F,
  ): Promise<F>;
  retrieve(
    token: bigint | number,
    type?: abstract new (...args: never[]) => PreservableFile,
  ): Promise<PreservableFile> {
    return this.#shared.mutex.run(async () => {
      const key = checkToken(token);
      this.#checkOpen();
      const entry = this.#files.get(key);
      if (!entry) throw new KernelError('ENOENT', `session '${this.name}' has no file under token ${key}`);
      const file = await this.#retrieve(entry);
      if (type && !(file instanceof type)) {
        throw new KernelError('EINVAL', `file ${key} of session '${this.name}' is no ${type.name}`);
      }
      file.get?.();
      return file;
    });
  }

  /**
   * Ends the session: retrieved files now belong to their users alone, the others are discarded.
   *
   * @throws KernelError EBUSY: a handler says that it cannot finish yet, or the handover is on its way; nothing has changed. EINVAL:
   * finished already. What a handler's canFinish threw: nothing has changed. What a handler's finish threw: all others are finished, and so is the
   * session.
   */
  finish(): Promise<void> {
    return this.#shared.mutex.run(() => this.#finish());
  }

  /** Finishes the session if it is not finished. For the errors see finish; after one the session stays. */
  close(): Promise<void> {
    return this.#shared.mutex.run(async () => {
      if (this.#state !== 'finished') await this.#finish();
    });
  }

  /** @internal Whether a handler has files in this session. */
  uses(handler: FileHandler): boolean {
    return [...this.#files.values()].some((file) => file.handler === handler);
  }

  async #retrieve(entry: IncomingFile): Promise<PreservableFile> {
    if (entry.retrieval === 'failed') throw entry.error;
    if (entry.file) return entry.file;
    try {
      const { data, compatible } = entry.record;
      const file: unknown = await entry.handler.retrieve({ data, compatible });
      if (typeof file !== 'object' || file === null)
        throw new KernelError('EIO', `the handler for '${compatible}' gave no file: a bug of that handler`);
      entry.file = file;
      entry.retrieval = 'done';
      return entry.file;
    } catch (error) {
      entry.retrieval = 'failed';
      entry.error = error;
      throw error;
    }
  }

  async #finish(): Promise<void> {
    this.#checkOpen();
    const entries = [...this.#files.values()].reverse();
    for (const entry of entries) {
      if ((await entry.handler.canFinish?.(contextOf(entry))) === false) {
        throw new KernelError(
          'EBUSY',
          `file ${entry.record.token} of session '${this.name}' cannot be finished yet: try again later`,
        );
      }
    }
    const errors: unknown[] = [];
    for (const entry of entries) {
      try {
        await entry.handler.finish(contextOf(entry));
      } catch (error) {
        errors.push(error); // finish runs once: the other files are not kept waiting for one that cannot let go
      }
      entry.file?.put?.();
      this.#files.delete(entry.record.token);
    }
    this.#state = 'finished';
    this.#shared.forget(this);
    if (errors.length > 0) throw errors[0];
  }

  #checkOpen(): void {
    if (this.#state === 'finished') throw new KernelError('EINVAL', `session '${this.name}' is finished`);
    this.#shared.checkRunning();
  }
}

function contextOf({ record, retrieval, file }: IncomingFile): FinishContext<PreservableFile> {
  const { data, compatible } = record;
  return file ? { data, compatible, retrieval, file } : { data, compatible, retrieval };
}
