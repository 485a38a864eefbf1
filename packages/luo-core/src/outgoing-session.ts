/**
 * A session of this kernel for the next one (kernel: kernel/liveupdate/luo_session.c, luo_file.c).
 *
 * Happy: preserve files, freeze them all at the handover, write their records. Unhappy: unpreserve one or all; a failing preserve leaves
 * nothing; a failing freeze unfreezes those before it.
 */
import { assert, KernelError, type StructView } from '@liveupdate/base';
import { BlockSet, type Kho } from '@liveupdate/kho';
import { LuoFileSer, LuoSessionSer } from './abi.ts';
import type { FileHandler, PreservableFile } from './handler.ts';
import type { Mutex } from './mutex.ts';
import type { HandlerRegistry } from './registry.ts';

/** What all outgoing sessions share. */
export interface OutgoingShared {
  readonly kho: Kho;
  readonly registry: HandlerRegistry;
  readonly mutex: Mutex;
  /** Ids of all files that are preserved, in any session. */
  readonly preservedIds: Set<unknown>;
  /** Throws EBUSY while, and after, the handover is made. */
  checkRunning(): void;
  /** A session is closed and no longer handed over. */
  forget(session: OutgoingSession): void;
}

interface OutgoingFile {
  readonly file: PreservableFile;
  readonly handler: FileHandler;
  readonly id: unknown;
  readonly token: bigint;
  data: bigint;
}

/** What a tool may know of a preserved file. */
export interface OutgoingFileInfo {
  readonly token: bigint;
  readonly compatible: string;
  readonly data: bigint;
}

export class OutgoingSession {
  readonly name: string;
  readonly #shared: OutgoingShared;
  /** In the order of preservation. */
  readonly #files = new Map<bigint, OutgoingFile>();
  readonly #blocks: BlockSet;
  #state: 'open' | 'closed' = 'open';
  /** Files that freeze has reached, in order; empty but during a handover. */
  #frozen: OutgoingFile[] = [];

  /** @internal Made by LiveUpdateOrchestrator.createSession. */
  constructor(name: string, shared: OutgoingShared) {
    this.name = name;
    this.#shared = shared;
    this.#blocks = new BlockSet(shared.kho, LuoFileSer.SIZE);
  }

  /** The preserved files, in order of preservation. */
  get files(): OutgoingFileInfo[] {
    return Array.from(this.#files.values(), ({ token, handler, data }) => ({
      token,
      compatible: handler.compatible,
      data,
    }));
  }

  /**
   * Preserves a file: the next kernel finds it in this session under `token`. The owner goes on using it.
   *
   * @throws KernelError EEXIST: the token is taken in this session. ENOMEM, ENOSPC: no room for one more record. EBADF: not a file.
   * ENOENT: no handler takes it. EBUSY: preserved already, or the handover is on its way. EINVAL: no token, or the session is closed.
   * Whatever the handler throws. After any of them everything is as before.
   */
  preserve(file: PreservableFile, token: bigint | number): Promise<void> {
    return this.#shared.mutex.run(async () => {
      const key = checkToken(token);
      this.#checkOpen();
      if (this.#files.has(key))
        throw new KernelError('EEXIST', `token ${key} is taken in session '${this.name}': choose another`);
      this.#blocks.announce();
      try {
        this.#files.set(key, await this.#preserve(file, key));
      } catch (error) {
        this.#blocks.retract();
        throw error;
      }
    });
  }

  /**
   * Takes one file back.
   *
   * @throws KernelError ENOENT: no file under this token. EBUSY: the handover is on its way. EINVAL: no token, or the session is closed.
   * Whatever the handler throws: then the file stays preserved.
   */
  unpreserve(token: bigint | number): Promise<void> {
    return this.#shared.mutex.run(async () => {
      const key = checkToken(token);
      this.#checkOpen();
      const file = this.#files.get(key);
      if (!file) throw new KernelError('ENOENT', `session '${this.name}' has no file under token ${key}`);
      await this.#unpreserve(file);
    });
  }

  /**
   * Takes all files back, last preserved first, and ends the session. A second call does nothing.
   *
   * @throws KernelError EBUSY: the handover is on its way. Whatever a handler throws: that file and those before it stay preserved, and the
   * session stays.
   */
  close(): Promise<void> {
    return this.#shared.mutex.run(async () => {
      if (this.#state === 'closed') return;
      this.#shared.checkRunning();
      for (const file of [...this.#files.values()].reverse()) await this.#unpreserve(file);
      this.#state = 'closed';
      this.#shared.forget(this);
    });
  }

  /** @internal Whether a handler has files in this session. */
  uses(handler: FileHandler): boolean {
    return [...this.#files.values()].some((file) => file.handler === handler);
  }

  /** @internal The last moment: every file's freeze, in order. After a throw, unfreeze takes back those that were frozen. */
  async freeze(): Promise<void> {
    for (const file of this.#files.values()) {
      const result = await file.handler.freeze?.({ file: file.file, data: file.data });
      this.#frozen.push(file);
      if (result) file.data = checkData(file.handler, result.data);
    }
  }

  /** @internal The inverse of freeze, last first. What a handler throws keeps no other file from being unfrozen: it is added to `errors`. */
  async unfreeze(errors: unknown[]): Promise<void> {
    for (let file = this.#frozen.pop(); file; file = this.#frozen.pop()) {
      try {
        await file.handler.unfreeze?.({ file: file.file, data: file.data });
      } catch (error) {
        errors.push(error);
      }
    }
  }

  /** @internal Writes the session's record and its files'. Cannot fail: the room was made before. */
  serialise(entry: StructView): void {
    const files = [...this.#files.values()];
    this.#blocks.serialise((record, i) => {
      record.setString(LuoFileSer.compatible, files[i].handler.compatible);
      record.setU64(LuoFileSer.data, files[i].data);
      record.setU64(LuoFileSer.token, files[i].token);
    });
    entry.setString(LuoSessionSer.name, this.name);
    entry.setU64(LuoSessionSer.files, this.#blocks.pa);
    entry.setU64(LuoSessionSer.count, files.length);
  }

  #checkOpen(): void {
    if (this.#state === 'closed') throw new KernelError('EINVAL', `session '${this.name}' is closed`);
    this.#shared.checkRunning();
  }

  async #preserve(file: PreservableFile, token: bigint): Promise<OutgoingFile> {
    const given: unknown = file; // a caller in JavaScript may pass anything
    if (typeof given !== 'object' || given === null) {
      throw new KernelError('EBADF', `a file is expected, not ${given === null ? 'null' : typeof given}`);
    }
    const handler = this.#shared.registry.forFile(file);
    if (!handler) {
      const known = this.#shared.registry.compatibles.join(', ') || 'none';
      throw new KernelError(
        'ENOENT',
        `no handler takes this file (registered: ${known}): pass its handler to the machine`,
      );
    }
    file.get?.(); // EBADF where it is closed; from here on its owner may close it at any time
    try {
      return await this.#preserveWith(handler, file, token);
    } catch (error) {
      file.put?.();
      throw error;
    }
  }

  async #preserveWith(handler: FileHandler, file: PreservableFile, token: bigint): Promise<OutgoingFile> {
    const id = handler.getId?.(file) ?? file;
    const { preservedIds } = this.#shared;
    if (preservedIds.has(id))
      throw new KernelError(
        'EBUSY',
        'this file is preserved already: a file can be in one session only, once',
      );
    preservedIds.add(id);
    try {
      const { data } = await handler.preserve({ file });
      return { file, handler, id, token, data: checkData(handler, data) };
    } catch (error) {
      preservedIds.delete(id);
      throw error;
    }
  }

  async #unpreserve(file: OutgoingFile): Promise<void> {
    await file.handler.unpreserve({ file: file.file, data: file.data });
    this.#shared.preservedIds.delete(file.id);
    const had = this.#files.delete(file.token);
    assert(had, 'a file is unpreserved twice');
    this.#blocks.retract();
    file.file.put?.();
  }
}

/** Largest u64. */
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** A token as the ABI has it: 64 bits. */
export function checkToken(token: bigint | number): bigint {
  const value = asU64(token);
  if (value === undefined)
    throw new KernelError(
      'EINVAL',
      `${token} is no token: use a whole number or a bigint of at most 64 bits`,
    );
  return value;
}

/** What a handler gave for its file, as the ABI has it. A handler in JavaScript may give anything. */
function checkData(handler: FileHandler, data: unknown): bigint {
  const value = asU64(data);
  if (value === undefined)
    throw new KernelError(
      'EINVAL',
      `handler '${handler.compatible}' gave data that is no number of 64 bits: a bug of that handler`,
    );
  return value;
}

function asU64(given: unknown): bigint | undefined {
  const value = typeof given === 'number' && Number.isSafeInteger(given) ? BigInt(given) : given;
  return typeof value === 'bigint' && value >= 0n && value <= MAX_U64 ? value : undefined;
}
