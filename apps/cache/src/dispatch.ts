/** From the words of a request to a command, or to an error that says what is wrong with them. */
import { codeOf } from '@liveupdate/base';
import { CommandError, type Command } from './command.ts';
import type { Request } from './request-parser.ts';

/** Letters of a command's arguments that an error repeats. */
const MOST_REPEATED = 128;

/** Performed at once, also while MULTI gathers commands. */
const IMMEDIATE: ReadonlySet<string> = new Set(['exec', 'discard', 'multi', 'watch', 'quit', 'reset']);

export function isImmediate({ name }: Command): boolean {
  return IMMEDIATE.has(name);
}

/** @throws CommandError: there is no such command, or not with so many words */
export function commandFor(commands: ReadonlyMap<string, Command>, args: Request): Command {
  const name = args[0].toString('latin1').toLowerCase();
  const command = commands.get(name);
  if (!command) throw unknown(args);
  const { subcommands } = command;
  if (!subcommands || args.length === 1) return checkLength(command, name, args);
  const below = args[1].toString('latin1').toLowerCase();
  const subcommand = subcommands.get(below);
  if (!subcommand)
    throw new CommandError(
      `ERR unknown subcommand '${shown(args[1])}'. There are ${[...subcommands.keys()].join(', ').toUpperCase()}.`,
    );
  return checkLength(subcommand, `${name}|${below}`, args);
}

function checkLength(command: Command, name: string, { length }: Request): Command {
  const { arity } = command;
  if (arity >= 0 ? length === arity : length >= -arity) return command;
  throw new CommandError(`ERR wrong number of arguments for '${name}' command`);
}

/** As Redis says it, for clients know that by its beginning; and what there is. */
function unknown([name, ...rest]: Request): CommandError {
  let beginning = '';
  for (const each of rest) {
    if (beginning.length >= MOST_REPEATED) break;
    beginning += `'${shown(each)}' `;
  }
  return new CommandError(
    `ERR unknown command '${shown(name)}', with args beginning with: ${beginning}(this cache has strings, counters and expiry: see COMMAND LIST)`,
  );
}

function shown(bytes: Buffer): string {
  return bytes.toString('latin1', 0, MOST_REPEATED);
}

/** What a client is told of what a command threw; undefined: that is our own bug. */
export function errorText(error: unknown): string | undefined {
  if (error instanceof CommandError) return error.message;
  switch (codeOf(error)) {
    case 'ENOSPC':
      return "OOM command not allowed when used memory > 'maxmemory'.";
    case 'EMSGSIZE':
      return 'ERR a key has at most 65,535 bytes in this cache';
    default:
      return undefined;
  }
}
