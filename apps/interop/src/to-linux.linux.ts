/** What the ordinary packages hand over, a real Linux boots from, finds, and hands over itself. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeBootImage } from '@liveupdate/boot-image';
import { expect, onTestFinished, test } from 'vitest';
import { Guest, kernelPath } from './guest.ts';
import type { KeptSession } from './guest/kept.ts';
import { makeHandover } from './made-here.ts';
import { seed } from '@liveupdate/base/test-seed';

const CLI = fileURLToPath(new URL('../../../packages/cli/src/main.ts', import.meta.url));
const RECEIVE = fileURLToPath(new URL('./guest/receive.ts', import.meta.url));

test('306 files of every kind, in 20 sessions: Linux finds them, and so does the one after it', async () => {
  const { ram, entry, sessions } = await makeHandover({
    seed,
    memory: 1280,
    sessions: 20,
    files: 305,
    large: 516,
  });
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-to-linux-'));
  onTestFinished(() => {
    fs.rmSync(folder, { recursive: true });
  });
  const image = await writeBootImage(folder, { ram, entry, kernel: fs.readFileSync(kernelPath() ?? '') });
  await using guest = await Guest.start({ program: RECEIVE, image, env: { GUEST_UPDATES: 1 } });
  fs.writeFileSync(join(guest.share, 'expected.json'), JSON.stringify(sessions));
  for (const number of [1, 2]) {
    await guest.until('retrieved');
    const found = JSON.parse(fs.readFileSync(join(guest.share, 'found.json'), 'utf8')) as KeptSession[];
    expect(found).toEqual(sessions);
    await guest.until('finished');
    expect(guest.serial).toContain(`luo: Retrieved live update data, liveupdate number: ${number}`);
    if (number === 1) await guest.until('replacing');
  }
  expect(guest.serial).toContain('exec from: from-typescript');
});

test('files of a disk that `liveupdate make-image` made a handover of', async () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-make-image-'));
  onTestFinished(() => {
    fs.rmSync(folder, { recursive: true });
  });
  const [a, b, into] = ['a', 'b', 'image'].map((name) => join(folder, name));
  fs.writeFileSync(a, randomBytes(3_000_000));
  fs.writeFileSync(b, '');
  fs.truncateSync(b, 5_000_000); // a hole
  const flbs = [0, 1, 2].flatMap((i) => ['--flb', `liveupdate-test-flb-v${i}=0xfeedf00dcafebee${i}`]);
  const args = [
    'make-image',
    into,
    '--kernel',
    kernelPath() ?? '',
    '--json',
    ...flbs,
    `vm/1=${a}`,
    `vm/2=${b}`,
  ];
  const words = ['--conditions=@liveupdate/source', '--no-warnings', CLI, ...args];
  const made = spawnSync(process.execPath, words, { encoding: 'utf8' });
  expect(made).toMatchObject({ status: 0, stderr: '' });
  const { command } = JSON.parse(made.stdout) as { command: string[] };
  const machine = command.slice(1, command.indexOf('-nographic'));
  const [memory, kernel] = ['memory', 'kernel'].map((name) => join(into, name));
  const image = { memory, kernel, machine, release: '', kernelAt: 0, written: 0 };
  await using guest = await Guest.start({ program: RECEIVE, image });
  const kept = [a, b].map((path, i) => ({
    token: `${i + 1}`,
    size: fs.statSync(path).size,
    position: 0,
    seals: 1, // made without MFD_ALLOW_SEALING
    sha256: createHash('sha256').update(fs.readFileSync(path)).digest('hex'),
  }));
  const expected = [{ name: 'vm', files: kept }];
  fs.writeFileSync(join(guest.share, 'expected.json'), JSON.stringify(expected));
  await guest.until('retrieved');
  expect(JSON.parse(fs.readFileSync(join(guest.share, 'found.json'), 'utf8'))).toEqual(expected);
});
