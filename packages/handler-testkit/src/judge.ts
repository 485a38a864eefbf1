/**
 * Reasons first: a fault is told once, by the first test that meets it. Tests that need what is
 * broken would fail for the same reason; they say that they were not judged.
 */
import { CALLBACKS, HandlerFault, type CallbackName } from './fault.ts';

/** A test of the suite: it rejects where the handler fails. */
export interface SuiteTest {
  readonly name: string;
  readonly run: () => Promise<void>;
  /** The callbacks that it needs; default all. */
  readonly uses?: readonly CallbackName[];
}

/** What a callback's failure leaves unknown. */
interface Reason {
  readonly test: string;
  readonly message: string;
  /** Whatever uses this callback is not judged; undefined: nothing is. */
  readonly broken: CallbackName | undefined;
}

/** The part of a test's context that runners give, where they can skip a test that has begun. */
interface Skipping {
  skip?: (reason: string) => unknown;
}

export class Judge {
  readonly #subject: SuiteTest;
  #subjectIsRight: Promise<void> | undefined;
  readonly #reasons: Reason[] = [];

  /** @param subject proves that the suite's own functions are right: every test needs that */
  constructor(subject: SuiteTest) {
    this.#subject = subject;
  }

  /** The test as a runner runs it. */
  asRun(test: SuiteTest): () => Promise<void> {
    const run = (contexts: readonly unknown[]) => this.#run(test, contexts);
    // No parameter is declared: runners take one for a callback. Mocha has its context in `this`.
    return async function (this: unknown, ...contexts: unknown[]) {
      await run([...contexts, this]);
    };
  }

  async #run(test: SuiteTest, contexts: readonly unknown[]): Promise<void> {
    await this.#checkSubject(test);
    const { name, run, uses = CALLBACKS } = test;
    const reason = this.#reasons.find(
      ({ test: other, broken }) => other !== name && (broken === undefined || uses.includes(broken)),
    );
    if (reason) {
      notJudged(contexts, `not judged: '${reason.test}' found that ${reason.message}`);
      return;
    }
    try {
      await run();
    } catch (error) {
      this.#note(name, error);
      throw error;
    }
  }

  /** Who runs one test alone is told what is wrong with the suite, too: by that test. */
  async #checkSubject({ name }: SuiteTest): Promise<void> {
    this.#subjectIsRight ??= this.#subject.run();
    try {
      await this.#subjectIsRight;
    } catch (error) {
      if (this.#reasons.length > 0) return;
      this.#note(name, error);
      throw error;
    }
  }

  #note(test: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    // What is no fault of a callback says nothing about any of them.
    const broken = error instanceof HandlerFault ? error.callback : undefined;
    this.#reasons.push({ test, message, broken });
  }
}

function notJudged(contexts: readonly unknown[], why: string): void {
  for (const context of contexts) {
    const skipping = context as Skipping | null | undefined;
    if (typeof skipping?.skip !== 'function') continue;
    skipping.skip(why);
    return;
  }
  console.warn(why); // Jest and Bun cannot skip a test that has begun
}
