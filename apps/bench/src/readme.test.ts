import * as fs from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withFigures } from './readme.ts';

test.each([
  ['of this package', '..'],
  ['of the repository', '../../..'],
])('the figures in the README %s are those of the results', async (_, path) => {
  const directory = join(import.meta.dirname, path);
  expect(await withFigures(directory)).toBe(fs.readFileSync(join(directory, 'README.md'), 'utf8'));
});
