/**
 * Damaged handovers, judged by a real Linux and here. All of them: `npm run -s interop -- damage`.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBootImage, type BootImage } from '@liveupdate/boot-image';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compare, DAMAGES, harm, judgedByLinux, judgedHere, placesOf } from './damage.ts';
import { DIFFERENCES } from './differences.ts';
import { kernelPath, whyNoGuest } from './guest.ts';
import { makeHandover, SMALL, type MadeHandover } from './made-here.ts';

/** One of each: refused by both, a panic, a part that is lost, and what differs. */
const TOLD = [
  'tree: kho-v9',
  'scratch: an area is not whole pages',
  'LUO: luo-v9',
  'sessions: one less',
  'session: no files',
  'file: memfd-v9',
  'memfd: a larger size',
  'folio: that is not preserved',
];

let folder: string;
let made: MadeHandover;
let image: BootImage | undefined;
beforeAll(async () => {
  if (whyNoGuest() !== undefined) return;
  folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-damaged-'));
  made = await makeHandover(SMALL);
  const { ram, entry } = made;
  image = await writeBootImage(folder, { ram, entry, kernel: fs.readFileSync(kernelPath() ?? '') });
});
afterAll(() => {
  if (image) fs.rmSync(folder, { recursive: true });
});

test.each(TOLD)('%s', async (name) => {
  const damage = DAMAGES.find((each) => each.name === name)!;
  const damaged = image!;
  const undo = harm(damaged, damage, placesOf(made));
  try {
    const linux = await judgedByLinux(damaged, made.sessions);
    const verdict = compare(linux, await judgedHere(damaged, made), made);
    expect(verdict, linux.panic).toMatchObject({ isSame: !(name in DIFFERENCES) });
  } finally {
    undo();
  }
});
