/**
 * Generations of a service in one process, for the service's own tests: no supervisor, no /dev/shm.
 * Memory, listening sockets and connections change hands as they do between processes.
 */
import { duplicateFrom, RamFile } from '@liveupdate/linux';
import { checkFunction, KernelError, parseSize } from '@liveupdate/base';
import type { Duties, Hello, Line, Successor } from './line.ts';
import type { Word } from './protocol.ts';
import { checkServiceOptions, openBy } from './open-service.ts';
import type { Service, ServiceOptions } from './service.ts';

const fs = process.getBuiltinModule('node:fs');

/** The lowest number of a duplicate. */
const LEAST_FD = 64;

type Given = { readonly word: Word | undefined; readonly fds: readonly number[] };

/** A generation that is to take over. */
interface Next {
  readonly armed: () => void;
  readonly word: Promise<Given>;
  readonly committed: () => void;
  /** When it has taken over, and is not ready yet. */
  service?: Service;
}

export class Stage implements Disposable {
  #memory: RamFile | undefined;
  readonly #listeners = new Map<string, number>();
  #service: Service | undefined;
  #duties: Duties | undefined;
  /** The generation that is to take over, while there is one. */
  #next: Next | undefined;

  /** Opens a service as `openService` does: what a program is given in its place. */
  readonly open = async (options: ServiceOptions): Promise<Service> => {
    const { size, ...more } = checkServiceOptions(options);
    if (size === undefined) throw new KernelError('EINVAL', 'give a size: the memory of a stage is made');
    this.#memory ??= RamFile.memory({ name: 'liveupdate-stage', size: parseSize(size) });
    const machine = { ...more, fd: duplicateFrom(this.#memory.fd, LEAST_FD) };
    const next = this.#next;
    const line = this.#line();
    const service = await openBy(line, options, machine);
    line.service = service;
    if (next) next.service = service;
    return service;
  };

  /** The generation that serves. */
  get service(): Service | undefined {
    return this.#service;
  }

  /**
   * Plays an upgrade: calls `start`, which opens the service by `open` and makes it ready, while
   * the generation before serves until it is armed.
   *
   * @returns what `start` gave
   * @throws what `start` throws: then the generation before goes on
   */
  async upgrade<T>(start: () => Promise<T>): Promise<T> {
    checkFunction(start, 'what starts the next generation');
    const duties = this.#duties;
    if (!duties) throw new KernelError('EINVAL', 'no generation serves yet: open one and make it ready');
    const armed = Promise.withResolvers<undefined>();
    const word = Promise.withResolvers<Given>();
    const ended = Promise.withResolvers<string>();
    const gone = Promise.withResolvers<string>();
    const next: Next = {
      armed: () => {
        armed.resolve(undefined);
      },
      word: word.promise,
      committed: () => {
        ended.resolve('');
      },
    };
    this.#next = next;
    const started = start();
    const failed = started.then(
      () => undefined,
      (error: unknown) => {
        next.service?.giveUp();
        const why = error instanceof Error ? error.message : String(error);
        gone.resolve(why);
        ended.resolve(why);
      },
    );
    await Promise.race([armed.promise, failed]);
    const successor: Successor = {
      gone: gone.promise,
      give: (given, fds) => {
        const copies = fds.map((fd) => duplicateFrom(fd, LEAST_FD));
        word.resolve({ word: { type: 'word', ...given }, fds: copies });
        return ended.promise;
      },
      refuse: () => {
        word.resolve({ word: undefined, fds: [] });
      },
    };
    const handedOver = duties.handOver(successor);
    try {
      return await started;
    } finally {
      await handedOver;
      this.#next = undefined;
    }
  }

  /** Ends the generation that serves, and all memory goes. */
  [Symbol.dispose](): void {
    this.#service?.letGo();
    for (const fd of this.#listeners.values()) fs.closeSync(fd);
    this.#listeners.clear();
    this.#memory?.close();
  }

  #line(): Line & { service?: Service } {
    const next = this.#next;
    let duties: Duties | undefined;
    const line: Line & { service?: Service } = {
      isOpen: true,
      hello: () => Promise.resolve(this.#hello(next)),
      serve: (given) => {
        duties = given;
      },
      owned: () => undefined,
      armed: () => {
        next?.armed();
      },
      listens: (key, fd) => {
        this.#listeners.set(key, duplicateFrom(fd, LEAST_FD));
      },
      holds: () => Promise.resolve(),
      dropped: (key) => {
        const fd = this.#listeners.get(key);
        if (fd !== undefined) fs.closeSync(fd);
        this.#listeners.delete(key);
      },
      ready: () => {
        this.#duties = duties;
        this.#service = line.service;
      },
      gave: () => undefined,
      resumed: () => undefined,
      upgrade: () => {
        throw new KernelError('EOPNOTSUPP', 'on a stage it is the test that upgrades');
      },
      over: () => {
        line.service?.letGo();
      },
    };
    return line;
  }

  #hello(next: Next | undefined): Hello {
    const listeners = [...this.#listeners].map(([key, fd]) => ({ key, fd: duplicateFrom(fd, LEAST_FD) }));
    if (!next) return { listeners, predecessor: undefined, memory: undefined, name: undefined };
    return {
      listeners,
      memory: undefined,
      name: undefined,
      predecessor: {
        word: () => next.word,
        committed: () => {
          next.committed();
        },
      },
    };
  }
}
