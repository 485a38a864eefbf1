/** The command line: of the command that people start, and of the server that it starts. */
import { parseArgs } from 'node:util';
import { formatSize, KernelError, parseSize } from '@liveupdate/base';

export interface CacheOptions {
  /** Bytes for keys and values, with what the map needs beside them. */
  readonly size: number;
  readonly host: string;
  readonly port: number;
  /** The path of a Unix socket, where it listens too. */
  readonly socket: string | undefined;
  /** Of the service, and so of its memory. */
  readonly name: string;
  /** Whether the least recently used keys go when it is full. Else SET and others fail. */
  readonly evicts: boolean;
}

export const HELP = `Usage: liveupdate-cache [options]

A cache server that speaks Redis' protocol and keeps its memory over upgrades, restarts and crashes.

  --size SIZE       for keys and values, taken at once (default 1GiB); it may grow with the next version
  --port PORT       where it listens (default 6379); 0: any that is free
  --host HOST       on which address (default 127.0.0.1: there are no passwords)
  --socket PATH     listens on this Unix socket, too
  --name NAME       of the service, and of its memory in /dev/shm (default cache)
  --no-evict        when it is full writes fail; without it the least recently used keys go
  --help            this

liveupdate upgrade NAME         the version that is installed now takes over; no client notices
liveupdate status NAME          how it does
liveupdate remove NAME          its memory goes, when it does not run
`;

const OPTIONS = {
  size: { type: 'string', default: '1GiB' },
  port: { type: 'string', default: '6379' },
  host: { type: 'string', default: '127.0.0.1' },
  socket: { type: 'string' },
  name: { type: 'string', default: 'cache' },
  'no-evict': { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

/** The least that is of any use, and the most that a map has. */
const LEAST = 2 ** 20;
const MOST = 16 * 2 ** 30;
const MOST_PORT = 65_535;

/** Wrong use of the command line, in a sentence. */
export class UsageError extends Error {}

/** @throws UsageError. @returns undefined: help is asked for */
export function readOptions(args: readonly string[]): CacheOptions | undefined {
  const { values, positionals } = parsed(args);
  if (values.help) return undefined;
  if (positionals.length > 0) throw new UsageError(`'${positionals[0]}' is no option: see --help`);
  const port = Number(values.port);
  if (!/^\d+$/.test(values.port) || port > MOST_PORT)
    throw new UsageError(`--port: '${values.port}' is no port: write a number up to ${MOST_PORT}`);
  if (values.name === '' || values.host === '' || values.socket === '')
    throw new UsageError('an option is empty: is the variable set that it was to come from?');
  const { host, socket, name } = values;
  return { size: sizeOf(values.size), host, port, socket, name, evicts: !values['no-evict'] };
}

function parsed(args: readonly string[]): ReturnType<typeof parse> {
  try {
    return parse(args);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parse(args: readonly string[]) {
  return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
}

function sizeOf(text: string): number {
  try {
    const size = parseSize(text);
    if (size >= LEAST && size <= MOST) return size;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  }
  throw new UsageError(
    `--size: '${text}' is no size from ${formatSize(LEAST)} to ${formatSize(MOST)}: write one such as 512MiB or 2GiB`,
  );
}
