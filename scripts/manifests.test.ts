/** What a registry shows of each package that is published. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './check/command.ts';
import { workspace } from './check/workspace.ts';

const published = workspace().filter((each) => !each.private);

test.each(published.map(({ name, dir }) => ({ name, dir })))('$name: where it is from', ({ dir }) => {
  const manifest = JSON.parse(readFileSync(join(root, dir, 'package.json'), 'utf8')) as {
    repository: { url: string; directory: string };
  } & Record<string, unknown>;
  const { repository, homepage, bugs, license, engines, sideEffects, publishConfig } = manifest;
  const site = repository.url.replace(/^git\+(.*)\.git$/, '$1');
  expect({ directory: repository.directory, homepage, bugs, license }).toEqual({
    directory: dir,
    homepage: `${site}/tree/main/${dir}#readme`,
    bugs: `${site}/issues`,
    license: 'MIT',
  });
  expect(engines).toHaveProperty('node');
  expect(publishConfig).toHaveProperty('access', 'public');
  if (manifest.exports !== undefined) expect(sideEffects).toBe(false);
});
