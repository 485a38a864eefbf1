/** What the ordinary packages hand over, a real Linux boots from, finds, and hands over itself. */
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
