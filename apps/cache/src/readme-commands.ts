/** The list of commands in the README: `npm run -s compare-caches -- --readme` writes it. */
import { readFileSync } from 'node:fs';
import { allCommands } from './all-commands.ts';
import type { Command } from './command.ts';

const BEGIN = /(<!-- commands: begin -->\n).*?(<!-- commands: end -->)/s;

const TITLES: Readonly<Record<Command['group'], string>> = {
  string: 'Values',
  bitmap: 'Bits',
  generic: 'Keys',
  transactions: 'Together',
  connection: 'Connections',
  server: 'The server',
};

/** A README with the commands that there are. */
export async function withCommands(path: string): Promise<string> {
  const lines = Object.entries(TITLES).map(([group, title]) => {
    const names = [...allCommands]
      .filter(([, command]) => command.group === group)
      .map(([name, { subcommands }]) => {
        const below = [...(subcommands?.keys() ?? [])].map((each) => each.toUpperCase());
        return `\`${name.toUpperCase()}\`${below.length > 0 ? ` (${below.join(', ')})` : ''}`;
      });
    return `- ${title}: ${names.join(', ')}`;
  });
  const fresh = readFileSync(path, 'utf8').replace(
    BEGIN,
    (_, begin: string, end: string) => `${begin}\n${lines.join('\n')}\n\n${end}`,
  );
  const { format, resolveConfig } = await import('prettier');
  return format(fresh, { ...(await resolveConfig(path)), parser: 'markdown' });
}
