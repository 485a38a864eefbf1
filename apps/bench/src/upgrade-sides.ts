/** Services that are upgraded, ours and what one would have without: each by its own means. */
import * as fs from 'node:fs';
import { listenTcp, localAddress } from '@liveupdate/linux';
import { Child, childCommand, ProgramFailed, type ChildName } from './child-process.ts';
import { setUp } from './ends.ts';
import { HOST } from './numbers-server.ts';
import type { ServedKind, ServedStoreArgument } from './served-store.ts';
import { TmpfsDirectory } from './tmpfs-directory.ts';
import type { SupervisorArgument } from './upgrade-supervisor.ts';
import type { Serving, UpgradedServiceArgument } from './upgraded-service.ts';

/** A service that answers. */
export interface Upgradable extends AsyncDisposable {
  readonly port: number;
  /** Resolves when the next version serves, and the one before is gone. */
  upgrade(): Promise<void>;
}

/** What of a service of ours stays in /dev/shm goes with it, at the latest with this process. */
class ServiceName implements Disposable {
  static #count = 0;
  readonly name = `bench-${process.pid}-${(ServiceName.#count += 1)}`;
  readonly #remove = (): void => {
    fs.rmSync(`/dev/shm/liveupdate.${this.name}`, { force: true });
  };

  constructor() {
    process.once('exit', this.#remove);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#remove);
    this.#remove();
  }
}

/** A program that upgrades itself when it is told to, and says when that is done. */
class Told implements Upgradable {
  readonly #child: Child<Serving>;
  readonly #tell: (child: Child<Serving>) => void;
  readonly #end: () => void;
  #port: number;

  private constructor(
    child: Child<Serving>,
    tell: (child: Child<Serving>) => void,
    end: () => void,
    port = 0,
  ) {
    this.#child = child;
    this.#tell = tell;
    this.#end = end;
    this.#port = port;
  }

  static start(
    child: Child<Serving>,
    tell: (child: Child<Serving>) => void,
    end: () => void,
    port?: number,
  ): Promise<Told> {
    return setUp(new Told(child, tell, end, port), async (told) => {
      ({ port: told.#port = told.#port } = await child.line());
    });
  }

  get port(): number {
    return this.#port;
  }

  async upgrade(): Promise<void> {
    this.#tell(this.#child);
    await this.#child.line();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#child[Symbol.asyncDispose]();
    } finally {
      this.#end();
    }
  }
}

const BY_LINE = (child: Child<Serving>): void => {
  child.go();
};
const BY_SIGNAL = (child: Child<Serving>): void => {
  child.signal('SIGUSR2');
};

/** Ours, under its supervisor: the next version stands by. */
export function supervised(size: number): Promise<Upgradable> {
  return supervisedProgram('upgraded-service', (name) => ({ name, size }) satisfies UpgradedServiceArgument);
}

/** A service of ours under a supervisor. @param told what it is told, with the name that it gets */
export function supervisedProgram(program: ChildName, told: (name: string) => object): Promise<Upgradable> {
  const name = new ServiceName();
  const command = childCommand(program, told(name.name));
  const child = new Child<Serving>('upgrade-supervisor', {
    argument: { command } satisfies SupervisorArgument,
  });
  return Told.start(child, BY_LINE, () => {
    name[Symbol.dispose]();
  });
}

/** Ours, alone: it replaces itself by exec. */
export function alone(size: number): Promise<Upgradable> {
  const name = new ServiceName();
  const argument = { name: name.name, size } satisfies UpgradedServiceArgument;
  return Told.start(new Child('upgraded-service', { argument }), BY_SIGNAL, () => {
    name[Symbol.dispose]();
  });
}

/** A server that passes nothing on but its listening socket, by exec. */
export function bare(): Promise<Upgradable> {
  const fd = listenTcp({ host: HOST, port: 0 });
  const address = localAddress(fd);
  const port = address.family === 'unix' ? 0 : address.port;
  const end = (): void => {
    fs.closeSync(fd);
  };
  return Told.start(new Child('upgraded-bare', { fd }), BY_SIGNAL, end, port);
}

/** Two workers over LMDB, rolled one after the other. */
export function workers(size: number): Promise<Upgradable> {
  const { directory, argument } = onTmpfs('lmdb', size);
  return Told.start(new Child('upgraded-workers', { argument, isQuiet: true }), BY_LINE, () => {
    directory[Symbol.dispose]();
  });
}

function onTmpfs(
  kind: ServedKind,
  size: number,
): { directory: TmpfsDirectory; argument: ServedStoreArgument } {
  const directory = new TmpfsDirectory();
  return { directory, argument: { kind, directory: directory.path, size, port: 0 } };
}

/** A program over a store, which is ended and started again. */
class Restarted implements Upgradable {
  readonly #directory: TmpfsDirectory;
  readonly #argument: ServedStoreArgument;
  #child: Child<Serving>;
  #port = 0;

  private constructor(kind: ServedKind, size: number) {
    ({ directory: this.#directory, argument: this.#argument } = onTmpfs(kind, size));
    this.#child = this.#started();
  }

  static start(kind: ServedKind, size: number): Promise<Restarted> {
    return setUp(new Restarted(kind, size), async (restarted) => {
      ({ port: restarted.#port = 0 } = await restarted.#child.line());
    });
  }

  get port(): number {
    return this.#port;
  }

  async upgrade(): Promise<void> {
    await this.#child.kill('SIGTERM');
    this.#child = this.#started();
    await this.#child.line();
  }

  #started(): Child<Serving> {
    const name: ChildName = 'upgraded-store';
    return new Child(name, { argument: { ...this.#argument, port: this.#port } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#child[Symbol.asyncDispose]();
    } finally {
      this.#directory[Symbol.dispose]();
    }
  }
}

/** A plain restart: SIGTERM, the wait for the end, the start. */
export function restarted(kind: ServedKind, size: number): Promise<Upgradable> {
  return Restarted.start(kind, size);
}

/** How often a side of others is measured where its program fails. */
const TRIES = 5;

/**
 * Measures a side of others, and once more where its program fails, which is said. Two processes
 * that write to one LMDB do so now and then (MDB_PROBLEM, 'mdb_page_touch no parent').
 *
 * @throws ProgramFailed it failed each time
 */
export async function retried<T>(side: string, measure: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++)
    try {
      return await measure();
    } catch (error) {
      if (!(error instanceof ProgramFailed) || tried === TRIES) throw error;
      const [why] = error.message.split('\n');
      process.stderr.write(`bench: ${side}: ${why}; it is measured once more\n`);
    }
}
