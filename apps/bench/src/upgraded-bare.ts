/**
 * What a start of Node.js costs that replaces a server by exec: this one passes its listening
 * socket on, and a handful of numbers in its environment. It keeps no memory and no connection.
 */
import { createServer } from 'node:http';
import { duplicateFrom, replaceProcess } from '@liveupdate/linux';
import { say, tellFailures } from './child-side.ts';
import { answers } from './numbers-server.ts';
import type { Serving } from './upgraded-service.ts';

tellFailures();

/** Where the parent's listening socket is in the first generation, and what the next one finds. */
const FIRST_FD = 3;
const FD = 'LIVEUPDATE_BENCH_LISTENER';
const NUMBERS = 'LIVEUPDATE_BENCH_NUMBERS';
/** Node.js leaves descriptors from here on alone at its start. */
const LEAST_FD = 64;

const passed = process.env[FD];
const listener = passed === undefined ? duplicateFrom(FIRST_FD, LEAST_FD) : Number(passed);
const numbers = new Map(JSON.parse(process.env[NUMBERS] ?? '[]') as [number, number][]);

const server = createServer(
  answers({ get: (key) => numbers.get(key) ?? 0, put: (key, value) => void numbers.set(key, value) }),
);
process.on('SIGUSR2', () => {
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [FD]: String(listener), [NUMBERS]: JSON.stringify([...numbers]) };
  replaceProcess({ args, env, keepFds: [listener] });
});
process.stdin.on('end', () => process.exit(0)).resume();
server.listen({ fd: duplicateFrom(listener, LEAST_FD) }, () => {
  say({} satisfies Serving);
});
