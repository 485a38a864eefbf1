/** COMMAND: what clients learn of commands, out of the tables that they are performed by. */
import { CommandError, type Command, type CommandClient, type Row, type Run } from '../command.ts';
import type { Reply } from '../reply.ts';
import type { Request } from '../request-parser.ts';

/** What COMMAND INFO tells of one. */
const FACTS = 10;
/** What COMMAND DOCS tells of one. */
const DOCS = 3;

export function describeAll({ server, reply }: CommandClient): void {
  reply.array(server.commands.size);
  for (const [name, command] of server.commands) describe(reply, name, command);
}

function describe(reply: Reply, name: string, command: Command): void {
  const { arity, flags, keys, subcommands } = command;
  reply.array(FACTS);
  reply.text(name);
  reply.integer(arity);
  statuses(reply, flags);
  for (const number of keys) reply.integer(number);
  statuses(reply, categoriesOf(command));
  reply.array(0); // tips
  reply.array(0); // key specifications
  reply.array(subcommands?.size ?? 0);
  for (const [below, each] of subcommands ?? []) describe(reply, `${name}|${below}`, each);
}

function statuses(reply: Reply, texts: readonly string[]): void {
  reply.set(texts.length);
  for (const text of texts) reply.status(text);
}

/** By what Redis' access lists call them. */
const CATEGORIES: Readonly<Record<Command['group'], string | undefined>> = {
  string: '@string',
  bitmap: '@bitmap',
  generic: '@keyspace',
  transactions: '@transaction',
  connection: '@connection',
  server: undefined,
};

function categoriesOf({ group, flags }: Command): string[] {
  const kinds = [
    flags.includes('write') ? '@write' : undefined,
    flags.includes('readonly') ? '@read' : undefined,
    flags.includes('admin') ? '@admin' : undefined,
    flags.includes('fast') ? '@fast' : '@slow',
    CATEGORIES[group],
  ];
  return kinds.filter((kind) => kind !== undefined);
}

/** By a name such as `get`, or `client|id`. */
function find({ server }: CommandClient, bytes: Buffer): Command | undefined {
  const [name, ...below] = nameOf(bytes).split('|');
  const command = server.commands.get(name);
  return below.length === 0 ? command : command?.subcommands?.get(below[0]);
}

const nameOf = (bytes: Buffer): string => bytes.toString('latin1').toLowerCase();

const count: Run = ({ server, reply }) => reply.integer(server.commands.size);

const info: Run = (client, args) => {
  if (args.length === 2) {
    describeAll(client);
    return;
  }
  client.reply.array(args.length - 2);
  for (const name of args.slice(2)) {
    const command = find(client, name);
    if (command) describe(client.reply, nameOf(name), command);
    else client.reply.noArray();
  }
};

const docs: Run = (client, args) => {
  const { server, reply } = client;
  const named = args.slice(2).flatMap((name) => {
    const command = find(client, name);
    return command ? [[nameOf(name), command] as const] : [];
  });
  const wanted = args.length === 2 ? [...server.commands] : named;
  reply.map(wanted.length);
  for (const [name, command] of wanted) document(reply, name, command);
};

function document(reply: Reply, name: string, { summary, since, group, subcommands }: Command): void {
  reply.text(name);
  reply.map(subcommands ? DOCS + 1 : DOCS);
  for (const text of ['summary', summary, 'since', since, 'group', group]) reply.text(text);
  if (!subcommands) return;
  reply.text('subcommands');
  reply.map(subcommands.size);
  for (const [below, each] of subcommands) document(reply, `${name}|${below}`, each);
}

const list: Run = ({ server, reply }) => {
  const names = [...server.commands].flatMap(([name, { subcommands }]) => [
    name,
    ...[...(subcommands?.keys() ?? [])].map((below) => `${name}|${below}`),
  ]);
  reply.texts(names);
};

const getkeys: Run = (client, [, , ...request]) => {
  const command = find(client, request[0]);
  if (!command) throw new CommandError('ERR Invalid command specified');
  const { arity, keys } = command;
  if (keys[0] === 0) throw new CommandError('ERR The command has no key arguments');
  if (arity > 0 ? request.length !== arity : request.length < -arity)
    throw new CommandError('ERR Invalid number of arguments specified for command');
  const found = keysOf(command, request);
  client.reply.array(found.length);
  for (const key of found) client.reply.bulk(key);
};

function keysOf({ keys: [first, last, step] }: Command, request: Request): Buffer[] {
  const end = last < 0 ? request.length + last : last;
  return request.filter((_, at) => at >= first && at <= end && (at - first) % step === 0);
}

const FLAGS = 'loading stale';

export const commandSubcommands: Readonly<Record<string, Row>> = {
  count: { arity: 2, flags: FLAGS, since: '2.8.13', summary: 'How many commands there are', run: count },
  info: { arity: -2, flags: FLAGS, since: '2.8.13', summary: 'What commands take', run: info },
  docs: { arity: -2, flags: FLAGS, since: '7.0.0', summary: 'What commands do', run: docs },
  list: { arity: -2, flags: FLAGS, since: '7.0.0', summary: 'The names of all', run: list },
  getkeys: { arity: -3, flags: FLAGS, since: '2.8.13', summary: 'Which words of a command are keys', run: getkeys },
}; // prettier-ignore
