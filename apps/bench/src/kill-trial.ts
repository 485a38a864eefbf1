/**
 * A service is killed and started again: how long somebody waits for the first answer, beside
 * programs that keep as many bytes on tmpfs by other means.
 *
 * The sides differ in what they keep the bytes in, and in nothing else. We are the supervisor:
 * SIGKILL, the wait until the old process is gone, a new one. Each is one file with compiled code
 * kept, started by the same Node with the same flags. What all of them pay for:
 *
 * - The old process is taken down, with all its bytes in its page tables: it has read them. A
 *   supervisor hears of its end when that is done, and the lock of a RAM is free by then. Ours has
 *   them in huge pages, which it asks for; LMDB and the mapped file have 4 KiB pages.
 * - Node starts and loads the program, and that what it needs: LMDB its package, ours koffi.
 * - What was kept is opened, one page in the midst is read, and the answer goes through a pipe.
 *
 * Behind the answer, and not in the time, everything is made ready for the next kill: ours
 * preserves its file again and finishes what came.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { missingAlternative } from './alternatives.ts';
import { Child, IS_BUILT, type ChildName } from './child-process.ts';
import { now } from './child-side.ts';
import { setUp, withEnds } from './ends.ts';
import type { Figure } from './figure.ts';
import type { KilledServiceArgument } from './killed-service.ts';
import type { FirstAnswer } from './killed-side.ts';
import type { KilledKind, KilledStoreArgument } from './killed-store.ts';
import { emptyProgram } from './processes.ts';
import { inTurn, type Rounds, type Trial } from './runner.ts';
import { TmpfsDirectory } from './tmpfs-directory.ts';

/**
 * Runs of a program before it counts, where it keeps compiled code. They end by themselves: one
 * that is killed keeps none. The first begins with nothing, the others with what one left that did
 * not hand over.
 */
const LEARNING = IS_BUILT ? 3 : 0;

/** What a wait consists of, in this order; the series of a side are its name and one of these. */
export const WAIT_PHASES = {
  gone: 'killed, until the process is gone',
  start: 'Node starts, and the program is loaded',
  open: 'what was kept is opened',
  read: 'a page is read, and the answer is here',
} as const;

type Wait = Readonly<Record<'answer' | keyof typeof WAIT_PHASES, number>>;

/** A program that is killed and started again, by us. */
class Killed implements AsyncDisposable {
  readonly #name: ChildName;
  readonly #argument: object;
  #child: Child<Partial<FirstAnswer>>;
  /** How many there have been, with the one that runs. */
  #number = 1;

  private constructor(name: ChildName, argument: object) {
    this.#name = name;
    this.#argument = argument;
    this.#child = this.#started();
  }

  /** Starts one. When this returns, it has its bytes and its compiled code. */
  static start(name: ChildName, argument: object): Promise<Killed> {
    return setUp(new Killed(name, argument), async (killed) => {
      await killed.#child.line();
      for (let run = 0; run < LEARNING; run++) {
        await killed[Symbol.asyncDispose]();
        await killed.#next();
      }
    });
  }

  /** Kills it and starts it again: milliseconds from the kill to the answer, and of which. */
  async kill(): Promise<Wait> {
    const killAt = now();
    await this.#child.kill();
    const goneAt = now();
    const { bodyAt, openAt, answerAt } = await this.#next();
    return {
      answer: answerAt - killAt,
      gone: goneAt - killAt,
      start: bodyAt - goneAt,
      open: openAt - bodyAt,
      read: answerAt - openAt,
    };
  }

  /** Starts the next one. When this returns, it has answered, and may be killed. */
  async #next(): Promise<FirstAnswer & { readonly answerAt: number }> {
    this.#child = this.#started();
    const answer = (await this.#child.line()) as FirstAnswer;
    const answerAt = now();
    checkPage(Buffer.from(answer.page, 'base64'), this.#number);
    this.#number += 1;
    await this.#child.line();
    return { ...answer, answerAt };
  }

  #started(): Child<Partial<FirstAnswer>> {
    return new Child(this.#name, { argument: this.#argument });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#child[Symbol.asyncDispose]();
  }
}

/** The page has to be what the program of this number wrote, last of all. */
function checkPage(page: Uint8Array, number: number): void {
  const words = new Uint32Array(new Uint8Array(page).buffer);
  if (words.length !== PAGE_SIZE / 4 || words.some((word) => word !== number))
    throw new Error(`the answer is not the page that program ${number} of this trial wrote last`);
}

/** Kept in another way. */
const OTHERS: readonly KilledKind[] = ['mapped', 'lmdb'];

async function killed({ size }: { readonly size: number }): Promise<Rounds> {
  return withEnds(async (ends) => {
    const { path: directory } = ends.use(new TmpfsDirectory());
    const side = async (series: string, program: ChildName, argument: object) => {
      const killed = ends.use(await Killed.start(program, argument));
      return async (): Promise<Record<string, number>> => {
        const { answer, ...phases } = await killed.kill();
        const parts = Object.entries(phases).map(([phase, time]) => [`${series} ${phase}`, time] as const);
        return { [series]: answer, ...Object.fromEntries(parts) };
      };
    };
    const service = { path: `${directory}/ram`, size } satisfies KilledServiceArgument;
    const sides = [await side('answer', 'killed-service', service), emptyProgram];
    const absent: Record<string, string> = {};
    for (const kind of OTHERS) {
      const reason = missingAlternative(kind);
      const argument = { kind, directory, size } satisfies KilledStoreArgument;
      if (reason === undefined) sides.push(await side(kind, 'killed-store', argument));
      else absent[kind] = reason;
    }
    return { absent, run: (round) => inTurn(sides, round), end: () => ends[Symbol.asyncDispose]() };
  });
}

/** How many times the bytes are there: in the RAM, in a mapped file, in LMDB. */
const COPIES = 3.3;

export const KILL_TRIALS: readonly Trial[] = [
  {
    name: 'killed',
    title: 'a service that is killed and started again, beside memory that others keep, 4 KiB folios',
    memory: (size) => COPIES * size,
    leastRounds: 9,
    prepare: killed,
  },
];

const WAIT = 'kill -9: time from the kill to the first answer';
const KILLED = { trial: 'killed', measured: 'answer', kind: 'longer' } as const;

/** What flatters least stands first. */
export const KILL_FIGURES: readonly Figure[] = [
  { ...KILLED, title: `${WAIT}, against an empty program`, against: 'empty' },
  { ...KILLED, title: `${WAIT}, against a tmpfs file that is mapped again`, against: 'mapped' },
  { ...KILLED, title: `${WAIT}, against LMDB on tmpfs that is opened again`, against: 'lmdb', goal: 1 },
];
