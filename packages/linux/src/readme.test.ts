import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const README = fileURLToPath(new URL('../README.md', import.meta.url));

test('the example of the README runs as a program and cleans up after itself', () => {
  const example = /```ts\n(.*?)```/s.exec(fs.readFileSync(README, 'utf8'))?.[1] ?? '';
  // Beside the README, so that the package is found by its name; JavaScript, as a reader would save
  // it.
  const file = fileURLToPath(new URL(`../.readme-${process.pid}.mjs`, import.meta.url));
  fs.writeFileSync(file, example);
  try {
    const { stdout, stderr, status, pid } = spawnSync(
      process.execPath,
      ['--conditions=@liveupdate/source', file],
      { encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    expect(stdout).toBe([1, 2, 3].map((n) => `generation ${n} takes 4096 bytes\n`).join(''));
    expect(status).toBe(0);
    expect(fs.existsSync(`/dev/shm/liveupdate-example-${pid}.ram`)).toBe(false);
  } finally {
    fs.rmSync(file);
  }
});
