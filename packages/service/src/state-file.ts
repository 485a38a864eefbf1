/**
 * The files of a service: each is made once and found again by every generation, under its name and
 * the version of what is in it. Another version is another file; the old one is there until the
 * generation that made the new one is ready.
 */
import { checkFunction, checkOptions, checkWhole, KernelError, parseSize } from '@liveupdate/base';
import type { Machine } from '@liveupdate/kexec';
import type { IncomingSession } from '@liveupdate/luo-core';
import type { SharedView } from '@liveupdate/mm';
import { ShmemFile, type ShmemMapping } from '@liveupdate/shmem';

/** What is in a file of an older version, for whoever makes the new one. */
export interface OldState {
  readonly version: number;
  readonly bytes: Uint8Array;
}

export interface StateOptions {
  /** Bytes, or text such as `'64MiB'`. One that is there is made larger, and never smaller. */
  readonly size: number | string;
  /** Of what is in it; default 1. */
  readonly version?: number;
  /**
   * Makes what is in this version of what was in the one before. Without it another version is an
   * error.
   */
  readonly migrate?: (old: OldState, bytes: Uint8Array) => void | Promise<void>;
}

/** A file of a service. */
export interface StateFile {
  readonly name: string;
  readonly version: number;
  /** A live view of all of it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether this generation made it: there was none, or one of another version. */
  readonly isNew: boolean;
  /** The file itself. */
  readonly file: ShmemFile;
  /** For worker threads: `openSharedView` of `@liveupdate/linux`. */
  share(): SharedView;
}

/** A file from 2 MiB on is asked for in huge pages. */
const HUGE = 2 * 2 ** 20;
/** Session names are 63 bytes at most, and hold name and version. */
const NAME = /^[\w.-]{1,50}$/;
const TOKEN = 1;

function sessionName(name: string, version: number): string {
  return `${name}@${version}`;
}

class State implements StateFile {
  readonly name: string;
  readonly version: number;
  readonly isNew: boolean;
  readonly file: ShmemFile;
  /** Whether what there is of it is what the generation before preserved, and no more. */
  readonly isFound: boolean;
  readonly #mapping: ShmemMapping;

  constructor(name: string, version: number, file: ShmemFile, origin: 'found' | 'grown' | 'new') {
    this.name = name;
    this.version = version;
    this.file = file;
    this.isNew = origin === 'new';
    this.isFound = origin === 'found';
    this.#mapping = file.map();
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#mapping.bytes;
  }

  share(): SharedView {
    return this.#mapping.share();
  }
}

export class StateFiles {
  readonly #machine: Machine;
  readonly #files = new Map<string, State>();
  /** What came, by the name of its session, newest last. */
  readonly #arrived: readonly IncomingSession[];
  #isKept = false;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#arrived = machine.origin === 'cold' ? [] : machine.kernel.luo.incomingSessions;
  }

  /** @throws KernelError EINVAL, EEXIST, ENOMEM, ENOSPC: see Service.file */
  async file(name: string, options: StateOptions): Promise<StateFile> {
    const { version, size, migrate } = check(name, options);
    if (this.#isKept) throw new KernelError('EINVAL', `file '${name}': files are asked for before ready()`);
    if (this.#files.has(name)) throw new KernelError('EEXIST', `file '${name}' was asked for already`);
    const found = await this.#find(sessionName(name, version));
    const state = found
      ? new State(name, version, found, grow(found, size) ? 'grown' : 'found')
      : await this.#make(name, version, size, migrate);
    this.#files.set(name, state);
    return state;
  }

  /**
   * From now on all files survive, and versions that are replaced are given up.
   *
   * @throws KernelError ENOMEM: no room for the records
   */
  async keep(): Promise<void> {
    await this.keepNew();
    for (const state of this.#files.values()) if (state.isFound) await this.#preserve(state);
    for (const session of this.#arrived)
      if (session.state === 'open' && this.#files.has(nameOf(session))) await session.finish();
  }

  /** The same for those that the generation before did not leave so: before anything is stored. */
  async keepNew(): Promise<void> {
    if (this.#isKept) return;
    this.#isKept = true;
    for (const state of this.#files.values()) if (!state.isFound) await this.#preserve(state);
  }

  async #preserve({ name, version, file }: State): Promise<void> {
    await this.#machine.kernel.luo.createSession(sessionName(name, version)).preserve(file, TOKEN);
  }

  async #find(session: string): Promise<ShmemFile | undefined> {
    const found = this.#arrived.findLast(({ name, files }) => name === session && files.length > 0);
    return found && (await found.retrieve(TOKEN, ShmemFile));
  }

  async #make(name: string, version: number, size: number, migrate: StateOptions['migrate']): Promise<State> {
    const old = this.#arrived.findLast((session) => nameOf(session) === name && session.files.length > 0);
    const before = old && versionOf(old);
    if (old && !migrate)
      throw new KernelError(
        'EINVAL',
        `file '${name}' is there in version ${before}, and version ${version} is asked for: pass migrate, which makes the one of the other`,
      );
    const file = this.#machine.kernel.shmem.memfdCreate(`${name}@${version}`);
    try {
      if (size >= HUGE) file.adviseHuge();
      file.allocate(0, size);
      const state = new State(name, version, file, 'new');
      if (old && migrate && before !== undefined) {
        const from = await old.retrieve(TOKEN, ShmemFile);
        const view = from.map();
        try {
          await migrate({ version: before, bytes: view.bytes }, state.bytes);
        } finally {
          view.unmap();
        }
      }
      return state;
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

function check(
  name: string,
  options: StateOptions,
): Required<Omit<StateOptions, 'migrate' | 'size'>> & {
  size: number;
  migrate: StateOptions['migrate'];
} {
  if (typeof name !== 'string' || !NAME.test(name))
    throw new KernelError('EINVAL', "the name of a file has at most 50 letters, digits, '.', '_' and '-'");
  checkOptions(options, 'a file', ['size', 'version', 'migrate']);
  const { version = 1, migrate } = options;
  checkWhole(version, 'a version', { min: 1, max: 999_999_999 });
  if (migrate !== undefined) checkFunction(migrate, 'migrate');
  const size = parseSize(options.size);
  if (size === 0) throw new KernelError('EINVAL', `file '${name}': give a size, such as '64MiB'`);
  return { version, size, migrate };
}

/** The name of the file in a session of ours; nothing for any other. */
function nameOf({ name }: IncomingSession): string {
  return /^(.+)@[1-9]\d*$/.exec(name)?.[1] ?? '';
}

function versionOf({ name }: IncomingSession): number {
  return Number(name.slice(name.lastIndexOf('@') + 1));
}

/** Whether it had to grow. */
function grow(file: ShmemFile, size: number): boolean {
  if (file.size >= size) return false;
  file.truncate(size);
  file.allocate(0, size);
  return true;
}
