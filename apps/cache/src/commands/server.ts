/** Commands of the server. */
import { CommandError, commandsOf, SYNTAX, type Row, type Run } from '../command.ts';
import { matches } from '../glob.ts';
import { word } from '../words.ts';
import { commandSubcommands, describeAll } from './documentation.ts';

const MICROSECONDS = 1000;
const ALL_SECTIONS = ['ALL', 'DEFAULT', 'EVERYTHING'];

const info: Run = ({ server, reply }, args) => {
  const wanted = args.slice(1).map(word);
  const isAll = wanted.length === 0 || wanted.some((section) => ALL_SECTIONS.includes(section));
  const sections = Object.entries(server.info()).filter(
    ([section]) => isAll || wanted.includes(section.toUpperCase()),
  );
  const texts = sections.map(([section, facts]) => {
    const lines = Object.entries(facts).map(([name, value]) => `${name}:${value}\r\n`);
    return `# ${section}\r\n${lines.join('')}`;
  });
  reply.verbatim(texts.join('\r\n'));
};

const time: Run = ({ store, reply }) => {
  const now = store.now();
  reply.texts([String(Math.floor(now / 1000)), String((now % 1000) * MICROSECONDS)]);
};

const configGet: Run = ({ server, reply }, args) => {
  const patterns = args.slice(2).map((pattern) => Buffer.from(pattern.toString('latin1').toLowerCase()));
  const found = [...server.settings].filter(([name]) =>
    patterns.some((pattern) => matches(pattern, Buffer.from(name))),
  );
  reply.map(found.length);
  for (const [name, value] of found) {
    reply.text(name);
    reply.text(value);
  }
};

/** What is so already may be asked for; all else is said where the server is started. */
const configSet: Run = ({ server, reply }, args) => {
  if (args.length % 2 !== 0) throw new CommandError("ERR wrong number of arguments for 'config|set' command");
  for (let i = 2; i < args.length; i += 2) {
    const name = args[i].toString('latin1').toLowerCase();
    const value = server.settings.get(name);
    if (value === undefined)
      throw new CommandError(`ERR Unknown option or number of arguments for CONFIG SET - '${name}'`);
    if (value !== args[i + 1].toString('latin1'))
      throw new CommandError(
        `ERR CONFIG SET failed (possibly related to argument '${name}') - it is set where the cache is started`,
      );
  }
  reply.status('OK');
};

const configResetstat: Run = ({ server, reply }) => {
  server.resetStatistics();
  reply.status('OK');
};

const command: Run = (client, args) => {
  if (args.length > 1) throw new CommandError(SYNTAX);
  describeAll(client);
};

const parent: Run = () => undefined;
const FLAGS = 'admin noscript loading stale';

const CONFIG: Readonly<Record<string, Row>> = {
  get: { arity: -3, flags: FLAGS, since: '2.0.0', summary: 'Settings like these patterns', run: configGet },
  set: { arity: -4, flags: FLAGS, since: '2.0.0', summary: 'Accepts what is so already', run: configSet },
  resetstat: { arity: 2, flags: FLAGS, since: '2.0.0', summary: 'Counts anew what INFO tells', run: configResetstat },
}; // prettier-ignore

export const serverCommands = commandsOf('server', {
  info: { arity: -1, flags: 'loading stale', since: '1.0.0', summary: 'About the server', run: info },
  time: { arity: 1, flags: 'loading stale fast', since: '2.6.0', summary: 'Seconds since the epoch, and microseconds', run: time },
  config: { arity: -2, since: '2.0.0', summary: 'How it was started', run: parent, subcommands: CONFIG },
  command: { arity: -1, flags: 'loading stale', since: '2.8.13', summary: 'About commands', run: command, subcommands: commandSubcommands },
}); // prettier-ignore
