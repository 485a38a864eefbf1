/** A server over a store on tmpfs that is ended by SIGTERM, and started again. */
import type * as net from 'node:net';
import { argument, say, tellFailures } from './child-side.ts';
import { HOST } from './numbers-server.ts';
import { isNew, openServed, type ServedStoreArgument } from './served-store.ts';
import type { Serving } from './upgraded-service.ts';

tellFailures();

const told = argument() as ServedStoreArgument;
const { server, end } = openServed(told, isNew(told));
server.listen(told.port, HOST, () => {
  say({ port: (server.address() as net.AddressInfo).port } satisfies Serving);
});
let isEnding = false;
const exit = (): void => {
  if (isEnding) return;
  isEnding = true;
  void end().then(() => process.exit(0));
};
process.on('SIGTERM', exit);
process.stdin.on('end', exit).resume();
