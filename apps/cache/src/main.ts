#!/usr/bin/env node
/**
 * The command: a supervisor that keeps the listening sockets, starts the server, starts it again
 * when it dies, and upgrades it when `liveupdate upgrade` or SIGUSR2 asks for it.
 */
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatSize, KernelError } from '@liveupdate/base';
import { leftSupervisor, Supervisor } from '@liveupdate/service';
import { HELP, readOptions, UsageError, type CacheOptions } from './options.ts';

/** Signals that are the server's affair. */
const PASSED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const;
/** What a shell makes of wrong use. */
const USAGE = 2;

const args = process.argv.slice(2);

try {
  const options = readOptions(args);
  if (options) process.exitCode = await supervise(options);
  else process.stdout.write(HELP);
} catch (error) {
  if (!(error instanceof UsageError || error instanceof KernelError)) throw error;
  process.stderr.write(`liveupdate-cache: ${error.message}\n`);
  process.exitCode = error instanceof UsageError ? USAGE : 1;
}

/** Resolves with the exit code of the server when it has ended. */
async function supervise({ name, size, host, socket }: CacheOptions): Promise<number> {
  // What is installed at this place when an upgrade comes is the next version.
  const program = fileURLToPath(new URL(`serve${extname(import.meta.filename)}`, import.meta.url));
  const left = leftSupervisor(); // where this process was another version of the supervisor before
  let isTold = left !== undefined;
  const supervisor = new Supervisor({
    name,
    ...(left && { left }),
    command: [process.execPath, ...process.execArgv, program, ...args],
    log: ({ event, text }) => {
      say(text);
      if (event !== 'ready' || isTold) return;
      isTold = true;
      const [listener = ''] = supervisor.status.listeners;
      const also = socket === undefined ? '' : ` and at ${socket}`;
      say(`${name} has ${formatSize(size)} and listens at ${host}:${supervisor.portOf(listener)}${also}`);
    },
  });
  for (const signal of PASSED)
    process.on(signal, () => {
      // The terminal has sent it to the server, too.
      if (signal === 'SIGINT' && process.stdin.isTTY) supervisor.isStopping = true;
      else supervisor.signal(signal);
    });
  process.on('SIGUSR2', () => {
    void supervisor.upgrade().catch(() => undefined); // it was logged
  });
  const { code } = await supervisor.run();
  return code ?? 1;
}

function say(text: string): void {
  process.stderr.write(`cache: ${text}\n`);
}
