/**
 * Two workers of node:cluster over one LMDB, rolled one after the other: a new one is started, and
 * the old one ends politely when that one listens. It is done whenever the parent says so.
 */
import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import type * as net from 'node:net';
import { argument, awaitGo, say, tellFailures } from './child-side.ts';
import { HOST } from './numbers-server.ts';
import { isNew, openServed, type ServedStoreArgument } from './served-store.ts';
import type { Serving } from './upgraded-service.ts';

tellFailures();

const WORKERS = 2;

const told = argument() as ServedStoreArgument;
if (cluster.isPrimary) void rollWorkers();
else serve();

/** A worker, when it listens; and where. */
async function started(): Promise<{ worker: Worker; port: number }> {
  const worker = cluster.fork();
  const [{ port }] = (await once(worker, 'listening')) as [net.AddressInfo];
  return { worker, port };
}

async function rollWorkers(): Promise<void> {
  const { worker, port } = await started();
  const workers = [worker];
  while (workers.length < WORKERS) workers.push((await started()).worker);
  say({ port } satisfies Serving);
  while (await awaitGo()) {
    for (let i = 0; i < workers.length; i++) {
      const { worker: next } = await started();
      await ended(workers[i]);
      workers[i] = next;
    }
    say({} satisfies Serving);
  }
  await Promise.all(workers.map(ended));
  process.exit(0);
}

async function ended(worker: Worker): Promise<void> {
  const exit = once(worker, 'exit');
  worker.send('end');
  await exit;
}

function serve(): void {
  const { server, end } = openServed(told, isNew(told));
  server.listen(told.port, HOST);
  const exit = (): void => {
    void end().then(() => process.exit(0));
  };
  process.once('message', exit).once('disconnect', exit);
}
