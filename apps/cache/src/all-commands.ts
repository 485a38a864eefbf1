/** All commands, by their names. */
import type { Command } from './command.ts';
import { bits } from './commands/bits.ts';
import { connection } from './commands/connection.ts';
import { counters } from './commands/counters.ts';
import { expiry } from './commands/expiry.ts';
import { databases, generic } from './commands/keys.ts';
import { serverCommands } from './commands/server.ts';
import { strings } from './commands/strings.ts';
import { transactions } from './commands/transactions.ts';

export const allCommands: ReadonlyMap<string, Command> = new Map(
  [strings, bits, counters, generic, expiry, transactions, connection, databases, serverCommands].flatMap(
    (commands) => [...commands],
  ),
);
