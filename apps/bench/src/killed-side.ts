/**
 * A program that is killed and started again, whatever it keeps its bytes in. Its first line is the
 * answer to whoever waits since the one before was killed. Behind it everything is made as it is in
 * a program at work.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { awaitGo, now, say } from './child-side.ts';

/** What a program has opened. */
export interface Opened {
  /** Whether there was nothing: it answers nobody. */
  readonly isNew: boolean;
  /** The page in the midst. */
  readPage(): Uint8Array;
  writePage(page: Uint8Array): void;
  /** Reads all bytes, so that they are in this process's page tables. */
  readAll(): void;
  /** Makes sure that the next one finds all of it. */
  keep(): unknown;
}

/** The answer, and when the program began and had opened what it reads from: milliseconds. */
export interface FirstAnswer {
  /** In base64. */
  readonly page: string;
  readonly bodyAt: number;
  readonly openAt: number;
}

/**
 * Answers, and waits to be killed. The page is the last thing that is written before, full of the
 * number of this program: an older one in an answer would show.
 */
export async function answerUntilKilled(opened: Opened, bodyAt: number): Promise<void> {
  const openAt = now();
  let number = 1;
  if (!opened.isNew) {
    const page = opened.readPage();
    say({ page: Buffer.from(page).toString('base64'), bodyAt, openAt } satisfies FirstAnswer);
    number += new Uint32Array(page.buffer, page.byteOffset, 1)[0];
  }
  await opened.keep();
  opened.readAll();
  opened.writePage(new Uint8Array(new Uint32Array(PAGE_SIZE / 4).fill(number).buffer));
  // Turns of the event loop in which nobody waits, as any service has before it is killed.
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  say({});
  await awaitGo();
}
