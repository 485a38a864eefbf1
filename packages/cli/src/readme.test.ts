import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import { expect, test } from 'vitest';
import { Directory, LINUX_IMAGE, runHere } from './test-cli.ts';
import { testBzImage, testKernel } from './test-kernel-image.ts';

const README = fs.readFileSync(fileURLToPath(new URL('../README.md', import.meta.url)), 'utf8');

test('the transcript in the README is what the command prints, but for the lines left out', async () => {
  const transcript = /```console\n\$ liveupdate inspect (\S+)\n(.*?)```/s.exec(README);
  expect(transcript).not.toBeNull();
  const [, file, text] = transcript ?? [];
  const { stdout } = await runHere('inspect', LINUX_IMAGE);
  const printed = stdout.replace(LINUX_IMAGE, file).split('\n');
  let at = 0;
  for (const line of text.trimEnd().split('\n')) {
    if (line.trim() === '[...]') continue;
    at = printed.indexOf(line, at) + 1;
    expect(at, `'${line}' is printed, in this order`).toBeGreaterThan(0);
  }
});

test('so is that of compat', async () => {
  using directory = new Directory();
  const text = /```console\n\$ liveupdate compat old\/bzImage new\/bzImage\n(.*?)```/s.exec(README)?.[1];
  for (const [name, files] of [
    ['old', ['memfd-v2']],
    ['new', ['memfd-v3']],
  ] as const) {
    fs.mkdirSync(`${directory.path}/${name}`);
    directory.write(`${name}/bzImage`, testBzImage(zlib.gzipSync(testKernel({ files }))));
  }
  const { status, stdout } = await runHere(
    'compat',
    `${directory.path}/old/bzImage`,
    `${directory.path}/new/bzImage`,
  );
  expect([status, stdout.replaceAll(`${directory.path}/`, '')]).toEqual([1, text]);
});

test('so is that of export and import', async () => {
  using directory = new Directory();
  const text = /## Files out and in.*?```console\n(.*?)```/s.exec(README)?.[1] ?? '';
  const steps = [...text.matchAll(/^\$ liveupdate (.*)\n(.*)$/gm)];
  expect(steps).toHaveLength(2);
  const place = (words: string): string =>
    words
      .replace(/fixtures\S+/, LINUX_IMAGE)
      .replace('file.bin', `${directory.path}/file.bin`)
      .replace('my-ram', `${directory.path}/ram`);
  for (const [, command, answer] of steps) {
    const { stdout } = await runHere(...place(command).split(' '));
    expect(stdout).toBe(`${place(answer)}\n`);
  }
});

test('the README names every command', () => {
  for (const command of [
    'demo',
    'list',
    'inspect',
    'check',
    'export',
    'import',
    'remove',
    'doctor',
    'kernel',
    'compat',
  ])
    expect(README).toContain(`liveupdate/cli ${command}`);
});
