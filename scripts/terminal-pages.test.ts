import { expect, test } from 'vitest';
import { PAGES } from './demo-transcript.ts';
import { Terminal } from './terminal-pages.ts';

test.each(PAGES)('what %s shows of a terminal is what happens there', async (page) => {
  await using terminal = await Terminal.open('sources');
  expect(await terminal.type(page)).toContain('```console');
});
