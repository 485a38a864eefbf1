/** Commands of the connection itself. */
import { CommandError, commandsOf, SYNTAX, type CommandClient, type Row, type Run } from '../command.ts';
import type { Request } from '../request-parser.ts';
import { count, word } from '../words.ts';
import { REDIS_VERSION } from '../redis-version.ts';
import { forget } from './transactions.ts';

/** The one user that there is: whoever can connect may do all. */
const USER = 'default';
/** Names of clients stand in lines of words. */
const NAME = /^[!-~]*$/;

const ping: Run = ({ reply }, args) => {
  if (args.length > 2) throw new CommandError("ERR wrong number of arguments for 'ping' command");
  if (args.length === 2) reply.bulk(args[1]);
  else reply.status('PONG');
};

const echo: Run = ({ reply }, [, text]) => reply.bulk(text);

const quit: Run = (client) => {
  client.reply.status('OK');
  client.end();
};

const reset: Run = (client) => {
  forget(client);
  client.reset();
  client.reply.status('RESET');
};

const auth: Run = ({ reply }, args) => {
  if (args.length > 3) throw new CommandError(SYNTAX);
  if (args.length === 2)
    throw new CommandError(
      'ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?',
    );
  checkUser(args[1]);
  reply.status('OK');
};

function checkUser(user: Buffer): void {
  if (user.toString('latin1') !== USER)
    throw new CommandError('WRONGPASS invalid username-password pair or user is disabled.');
}

const hello: Run = (client, args) => {
  const version = args.length > 1 ? args[1].toString('latin1') : String(client.version);
  if (!/^-?\d+$/.test(version))
    throw new CommandError('ERR Protocol version is not an integer or out of range');
  if (version !== '2' && version !== '3') throw new CommandError('NOPROTO unsupported protocol version');
  let name: string | undefined;
  for (let i = 2; i < args.length; i++) {
    const option = word(args[i]);
    const left = args.length - i - 1;
    if (option === 'AUTH' && left >= 2) {
      checkUser(args[i + 1]);
      i += 2;
    } else if (option === 'SETNAME' && left >= 1) {
      i += 1;
      name = checkedName(args[i]);
    } else {
      throw new CommandError(`ERR Syntax error in HELLO option '${args[i].toString('latin1')}'`);
    }
  }
  if (name !== undefined) client.name = name;
  client.version = version === '3' ? 3 : 2;
  const told = {
    server: 'redis',
    version: REDIS_VERSION,
    proto: client.version,
    id: client.id,
    mode: 'standalone',
    role: 'master',
  };
  const { reply } = client;
  reply.map(Object.keys(told).length + 1);
  for (const [key, value] of Object.entries(told)) {
    reply.text(key);
    if (typeof value === 'number') reply.integer(value);
    else reply.text(value);
  }
  reply.text('modules');
  reply.array(0);
};

function checkedName(bytes: Buffer): string {
  const name = bytes.toString('latin1');
  if (!NAME.test(name))
    throw new CommandError('ERR Client names cannot contain spaces, newlines or special characters.');
  return name;
}

const setname: Run = (client, [, , name]) => {
  client.name = checkedName(name);
  client.reply.status('OK');
};

const getname: Run = (client) => {
  if (client.name === '') client.reply.nothing();
  else client.reply.text(client.name);
};

const setinfo: Run = (client, [, , option, value]) => {
  const attribute = word(option);
  const text = value.toString('latin1');
  if (!NAME.test(text))
    throw new CommandError(`ERR ${attribute} cannot contain spaces, newlines or special characters.`);
  if (attribute === 'LIB-NAME') client.library = { ...client.library, name: text };
  else if (attribute === 'LIB-VER') client.library = { ...client.library, version: text };
  else throw new CommandError(`ERR Unrecognized option '${option.toString('latin1')}'`);
  client.reply.status('OK');
};

const list: Run = (client, args) => {
  const all = args.length > 2 && word(args[2]) === 'ID' ? args.slice(3).map((id) => count(id)) : undefined;
  if (args.length > 2 && !all && word(args[2]) !== 'TYPE') throw new CommandError(SYNTAX);
  const found = [...client.server.clients.values()].filter(({ id }) => all?.includes(id) ?? true);
  client.reply.verbatim(found.map((each) => `${each.describe()}\n`).join(''));
};

/** By `ADDRESS`, `ID N` or `ADDR ADDRESS`. */
const kill: Run = (client, args) => {
  const isOld = args.length === 3;
  const by = isOld ? 'ADDR' : word(args[2]);
  if (args.length > 4 || !['ID', 'ADDR'].includes(by)) throw new CommandError(SYNTAX);
  const wanted = args[args.length - 1].toString('latin1');
  const found = [...client.server.clients.values()].filter(
    ({ id, address }) => (by === 'ID' ? String(id) : address) === wanted,
  );
  if (isOld && found.length === 0) throw new CommandError('ERR No such client');
  for (const each of found) each.end();
  if (isOld) client.reply.status('OK');
  else client.reply.integer(found.length);
};

const replies: Run = (client, [, , how]) => {
  const mode = word(how);
  if (mode === 'ON') {
    client.replies = 'on';
    client.reply.status('OK');
  } else if (mode === 'OFF') {
    client.replies = 'off';
  } else if (mode === 'SKIP') {
    if (client.replies === 'on') client.replies = 'skip-next';
  } else {
    throw new CommandError(SYNTAX);
  }
};

/** NO-EVICT and NO-TOUCH: clients are not evicted, and a look is a use. */
const nothing: Run = ({ reply }, [, , how]: Request) => {
  if (!['ON', 'OFF'].includes(word(how))) throw new CommandError(SYNTAX);
  reply.status('OK');
};

const id: Run = (client: CommandClient) => client.reply.integer(client.id);
const info: Run = (client) => client.reply.verbatim(`${client.describe()}\n`);
const parent: Run = () => undefined;

const FLAGS = 'noscript loading stale';

const CLIENT: Readonly<Record<string, Row>> = {
  id: { arity: 2, flags: FLAGS, since: '5.0.0', summary: 'The number of this connection', run: id },
  info: { arity: 2, flags: FLAGS, since: '6.2.0', summary: 'About this connection', run: info },
  list: { arity: -2, flags: `admin ${FLAGS}`, since: '2.4.0', summary: 'About all connections', run: list },
  kill: { arity: -3, flags: `admin ${FLAGS}`, since: '2.4.0', summary: 'Ends connections: ID, ADDR', run: kill },
  getname: { arity: 2, flags: FLAGS, since: '2.6.9', summary: 'What this connection calls itself', run: getname },
  setname: { arity: 3, flags: FLAGS, since: '2.6.9', summary: 'Names this connection', run: setname },
  setinfo: { arity: 4, flags: FLAGS, since: '7.2.0', summary: 'Which library this client is written with', run: setinfo },
  reply: { arity: 3, flags: FLAGS, since: '3.2.0', summary: 'Whether this connection is answered', run: replies },
  'no-evict': { arity: 3, flags: `admin ${FLAGS}`, since: '7.0.0', summary: 'Says yes: no connection is evicted', run: nothing },
  'no-touch': { arity: 3, flags: FLAGS, since: '7.2.0', summary: 'Says yes, and does nothing', run: nothing },
}; // prettier-ignore

export const connection = commandsOf('connection', {
  ping: { arity: -1, flags: 'fast', since: '1.0.0', summary: 'PONG, or what was said', run: ping },
  echo: { arity: 2, flags: 'fast', since: '1.0.0', summary: 'What was said', run: echo },
  quit: { arity: -1, flags: `${FLAGS} no_auth fast`, since: '1.0.0', summary: 'Ends the connection', run: quit },
  reset: { arity: 1, flags: `${FLAGS} no_auth fast`, since: '6.2.0', summary: 'As if this connection was new', run: reset },
  auth: { arity: -2, flags: `${FLAGS} no_auth fast`, since: '1.0.0', summary: 'There is one user, and no password', run: auth },
  hello: { arity: -1, flags: `${FLAGS} no_auth fast`, since: '6.0.0', summary: 'The version of the protocol: 2 or 3', run: hello },
  client: { arity: -2, since: '2.4.0', summary: 'About connections', run: parent, subcommands: CLIENT },
}); // prettier-ignore
