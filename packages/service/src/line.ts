/** What a generation has to do with whoever starts and ends generations. */
import type { Word } from './protocol.ts';

/** The generation before, which waits until the next one is ready. */
export interface Predecessor {
  /**
   * Resolves when it has stopped and sealed, with what it hands over; without, when it has ended.
   *
   * @throws KernelError EMFILE: not all of its connections can be open here
   */
  word(): Promise<{ readonly word: Word | undefined; readonly fds: readonly number[] }>;
  /** It can end. */
  committed(): void;
}

/** The generation after, which waits for the word. */
export interface Successor {
  /** Resolves when it is gone, with a sentence. */
  readonly gone: Promise<string>;
  /**
   * Hands over. Resolves with an empty text when the other has committed; else, when it has ended,
   * with why this generation goes on.
   */
  give(word: Omit<Word, 'type'>, fds: readonly number[]): Promise<string>;
  /** It gets nothing. */
  refuse(): void;
}

/** What a generation does when it is asked. */
export interface Duties {
  /** Makes ready what an upgrade needs. */
  prepare(): Promise<void>;
  handOver(successor: Successor): Promise<void>;
}

/** What a generation begins with. */
export interface Hello {
  readonly listeners: readonly { readonly key: string; readonly fd: number }[];
  readonly predecessor: Predecessor | undefined;
  /** What the generation before called itself. */
  readonly name: string | undefined;
  /** A descriptor of the memory that somebody holds for this service. */
  readonly memory: number | undefined;
}

/** What is told of a generation that is ready. */
export interface ReadyInfo {
  readonly generation: number;
  readonly origin: string;
  /** Connections that came along, and that did not. */
  readonly adopted: number;
  readonly left: number;
}

export interface Line {
  /** Whether somebody is there. */
  readonly isOpen: boolean;
  /** Says what this service is called. Resolves with what is there for it. */
  hello(name: string): Promise<Hello>;
  /** From now on it does what it is asked. */
  serve(duties: Duties): void;
  /** Another process owns the memory of this service: it cannot run. */
  owned(): void;
  /** It waits for the generation before. */
  armed(): void;
  /** A listening socket that all generations share. */
  listens(key: string, fd: number): void;
  /** Memory without a name, which outlives this process where somebody holds it. */
  holds(fd: number): Promise<void>;
  /** Nobody listens there any more. */
  dropped(key: string): void;
  ready(info: ReadyInfo): void;
  /** It has stopped, and handed over. */
  gave(): void;
  /** An upgrade did not come about, and this generation goes on. */
  resumed(why: string): void;
  /** Asks for an upgrade. */
  upgrade(): void;
  /** The next generation serves: this one ends. */
  over(): void;
}
