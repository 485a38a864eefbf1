/** What the README says is so: its transcript, its table, its list of commands. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { withTable } from './compare/table.ts';
import { withCommands } from './readme-commands.ts';
import { withTranscript } from './readme-transcript.ts';
import { whyNo } from './test-server.ts';

const README = fileURLToPath(new URL('../README.md', import.meta.url));
const readme = readFileSync(README, 'utf8');

/** Without what is another number each time. */
const plain = (text: string): string => text.replaceAll(/pid \d+/g, 'pid N').replaceAll(/\d+ ms/g, 'N ms');

test('the transcript: each command says what it said', async (context) => {
  const why = whyNo('redis-benchmark');
  if (why !== undefined) context.skip(why);
  expect(plain(await withTranscript(README))).toBe(plain(readme));
});

test('the table is that of the results', async () => {
  expect(readme).toBe(await withTable(README));
});

test('the list of commands is that of the tables', async () => {
  expect(readme).toBe(await withCommands(README));
});
