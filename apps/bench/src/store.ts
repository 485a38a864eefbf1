/**
 * A program whose bytes stay on tmpfs, in a store of another kind. It passes nothing on: it ends
 * what it has open, is replaced by exec as the service is, opens the same again and reads the first
 * byte.
 */
import { replaceProcess } from '@liveupdate/linux';
import { argument, awaitGo, before, noteExec, now, say, tellFailures } from './child-side.ts';
import {
  keepCompiledCode,
  openLmdb,
  openMapped,
  openSqlite,
  type Store,
  type StoreArgument,
  type StoreKind,
} from './open-store.ts';

tellFailures();

/** Milliseconds from the call that ends what is open to the first byte read. */
export interface StoreStart {
  readonly start?: number;
}

const OPEN: Readonly<Record<StoreKind, (argument: StoreArgument, isNew: boolean) => Store>> = {
  mapped: openMapped,
  lmdb: openLmdb,
  sqlite: openSqlite,
};

void main();

async function main(): Promise<void> {
  const told = argument() as StoreArgument;
  const noted = before();
  keepCompiledCode(told.kind);
  const store = OPEN[told.kind](told, noted === undefined);
  if (noted) {
    store.firstByte();
    say({ start: now() - noted.endAt } satisfies StoreStart);
  } else {
    store.fill();
    store.firstByte();
  }
  store.work?.();
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  say({});
  if (!(await awaitGo())) {
    await store.end();
    return;
  }
  store.prepareEnd?.();
  const endAt = now();
  await store.end();
  noteExec(() => ({ endAt }));
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  replaceProcess({ args, env: { ...process.env }, keepFds: [] });
}
