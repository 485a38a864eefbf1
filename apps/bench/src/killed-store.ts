/**
 * The same by other means: a program that keeps its bytes on tmpfs, in a file that it maps or in
 * LMDB, and is killed and started again.
 */
import { existsSync } from 'node:fs';
import { argument, now, tellFailures } from './child-side.ts';
import { answerUntilKilled } from './killed-side.ts';
import { keepCompiledCode, openLmdb, openMapped, pathOf, type StoreArgument } from './open-store.ts';

const bodyAt = now();
tellFailures();

const OPEN = { mapped: openMapped, lmdb: openLmdb } as const;

/** What is kept in a way that a kill leaves whole. */
export type KilledKind = keyof typeof OPEN;

/** What the program is told. */
export interface KilledStoreArgument extends StoreArgument {
  readonly kind: KilledKind;
}

void main();

async function main(): Promise<void> {
  const told = argument() as KilledStoreArgument;
  keepCompiledCode(told.kind);
  const isNew = !existsSync(pathOf(told));
  const store = OPEN[told.kind](told, isNew);
  if (isNew) store.fill();
  await answerUntilKilled({ ...store, isNew, keep: () => undefined }, bodyAt);
}
