import * as fs from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { withFigures } from './readme.ts';

test.each([
  ['of this package', '..'],
  ['of the repository', '../../..'],
])('the figures and pictures in the README %s are those of the results', async (_, path) => {
  const directory = join(import.meta.dirname, path);
  const { text, pictures } = await withFigures(directory);
  expect(text).toBe(fs.readFileSync(join(directory, 'README.md'), 'utf8'));
  for (const [file, svg] of pictures) expect(fs.readFileSync(file, 'utf8'), file).toBe(svg);
});
