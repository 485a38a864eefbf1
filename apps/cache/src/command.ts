/** What a command is, and what it knows: of the client that asks, and of the server. */
import type { ProtocolVersion, Reply } from './reply.ts';
import type { Request } from './request-parser.ts';
import type { Store } from './store.ts';
import type { Watcher } from './watches.ts';

/** What a client is told instead of an answer: a code, and a sentence. */
export class CommandError extends Error {}

export const SYNTAX = 'ERR syntax error';
export const NO_INTEGER = 'ERR value is not an integer or out of range';

/** As COMMAND tells clients. */
type Flag =
  | 'write'
  | 'readonly'
  | 'denyoom'
  | 'fast'
  | 'admin'
  | 'no_multi'
  | 'noscript'
  | 'loading'
  | 'stale'
  | 'no_auth';

/** As COMMAND DOCS and INFO have them. */
export type Group = 'string' | 'bitmap' | 'generic' | 'transactions' | 'connection' | 'server';

export type Run = (client: CommandClient, args: Request) => void;

export interface Command {
  readonly name: string;
  /** Words with the name; a negative number: so many at least. */
  readonly arity: number;
  readonly group: Group;
  readonly flags: readonly Flag[];
  /** Which words are keys: the first, the last (a negative one from the end), and how far apart. */
  readonly keys: readonly [first: number, last: number, step: number];
  /** The version of Redis in which it came. */
  readonly since: string;
  readonly summary: string;
  readonly run: Run;
  /** Where the second word is a command itself. */
  readonly subcommands?: ReadonlyMap<string, Command>;
}

/** A row of a table of commands: what is not said is none. */
export interface Row {
  readonly arity: number;
  /** Words apart. */
  readonly flags?: string;
  readonly keys?: Command['keys'];
  readonly since: string;
  readonly summary: string;
  readonly run: Run;
  readonly subcommands?: Readonly<Record<string, Row>>;
}

export const ONE_KEY = [1, 1, 1] as const;
export const TWO_KEYS = [1, 2, 1] as const;
export const ALL_KEYS = [1, -1, 1] as const;
const NO_KEYS = [0, 0, 0] as const;

/** Commands by their names. */
export function commandsOf(group: Group, rows: Readonly<Record<string, Row>>): Map<string, Command> {
  const commands = Object.entries(rows).map(([name, { flags = '', keys = NO_KEYS, subcommands, ...row }]) => {
    const below = subcommands && commandsOf(group, subcommands);
    const all = flags.split(' ').filter((flag) => flag !== '') as Flag[];
    return [name, { ...row, name, group, keys, flags: all, ...(below && { subcommands: below }) }] as const;
  });
  return new Map(commands);
}

/** A connection, as commands see it. */
export interface CommandClient extends Watcher {
  readonly id: number;
  /** Where it connects from. */
  readonly address: string;
  /** Of the protocol that it speaks. */
  version: ProtocolVersion;
  readonly reply: Reply;
  readonly store: Store;
  readonly server: CommandServer;
  name: string;
  /** Of the library that the client is written with. */
  library: { name: string; version: string };
  /** What MULTI has gathered; undefined: there was none. */
  transaction: Transaction | undefined;
  /** Whether it is told anything: see CLIENT REPLY. */
  replies: 'on' | 'off' | 'skip' | 'skip-next';
  /** A line of CLIENT LIST. */
  describe(): string;
  /** Performs one command, as if it had just come. */
  perform(command: Command, args: Request): void;
  /** As a client that has just connected. */
  reset(): void;
  /** The connection ends when all that was said has left. */
  end(): void;
}

export interface Transaction {
  readonly queue: { readonly command: Command; readonly args: Request }[];
  /** Whether something was no command: EXEC refuses. */
  isBroken: boolean;
}

/** The server, as commands see it. */
export interface CommandServer {
  readonly store: Store;
  /** What all say goes through this buffer: one client at a time, and never across a turn. */
  readonly reply: Reply;
  readonly commands: ReadonlyMap<string, Command>;
  readonly clients: ReadonlyMap<number, CommandClient>;
  /** What INFO tells: sections of names and values. */
  info(): Readonly<Record<string, Readonly<Record<string, string | number>>>>;
  /** What CONFIG GET tells. */
  readonly settings: ReadonlyMap<string, string>;
  resetStatistics(): void;
  /** Another command was performed. */
  processed(): void;
}
