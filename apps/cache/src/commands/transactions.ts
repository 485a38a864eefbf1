/** Commands that are performed together, without others in between. */
import { CommandError, commandsOf, type CommandClient, type Run } from '../command.ts';

const multi: Run = (client) => {
  if (client.transaction) throw new CommandError('ERR MULTI calls can not be nested');
  client.transaction = { queue: [], isBroken: false };
  client.reply.status('OK');
};

const exec: Run = (client) => {
  const { transaction, reply, store } = client;
  if (!transaction) throw new CommandError('ERR EXEC without MULTI');
  const hasChanged = client.isDirty || store.watches.hasExpired(client, (key) => store.has(key));
  forget(client);
  if (transaction.isBroken)
    throw new CommandError('EXECABORT Transaction discarded because of previous errors.');
  if (hasChanged) {
    reply.noArray();
    return;
  }
  reply.array(transaction.queue.length);
  for (const { command, args } of transaction.queue) client.perform(command, args);
};

const discard: Run = (client) => {
  if (!client.transaction) throw new CommandError('ERR DISCARD without MULTI');
  forget(client);
  client.reply.status('OK');
};

const watch: Run = (client, [, ...keys]) => {
  if (client.transaction) throw new CommandError('ERR WATCH inside MULTI is not allowed');
  for (const key of keys) client.store.watches.watch(client, key, client.store.has(key));
  client.reply.status('OK');
};

const unwatch: Run = (client) => {
  client.store.watches.unwatch(client);
  client.isDirty = false;
  client.reply.status('OK');
};

/** What was gathered and watched is so no more. */
export function forget(client: CommandClient): void {
  client.transaction = undefined;
  client.store.watches.unwatch(client);
  client.isDirty = false;
}

const FLAGS = 'noscript loading stale fast';

export const transactions = commandsOf('transactions', {
  multi: { arity: 1, flags: FLAGS, since: '1.2.0', summary: 'From now on commands are gathered', run: multi },
  exec: { arity: 1, flags: 'noscript loading stale', since: '1.2.0', summary: 'Performs all that was gathered', run: exec },
  discard: { arity: 1, flags: FLAGS, since: '2.0.0', summary: 'Forgets all that was gathered', run: discard },
  watch: { arity: -2, flags: FLAGS, keys: [1, -1, 1], since: '2.2.0', summary: 'EXEC does nothing where one of these keys has changed', run: watch },
  unwatch: { arity: 1, flags: FLAGS, since: '2.2.0', summary: 'Forgets what was watched', run: unwatch },
}); // prettier-ignore
