/**
 * Linux's own live-update tests, unmodified, on a handover that was made here: their second stage
 * finds what their first would have left. The names, tokens and contents are theirs.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PAGE_SIZE } from '@liveupdate/base';
import { writeBootImage } from '@liveupdate/boot-image';
import { expect, onTestFinished, test } from 'vitest';
import { Guest, kernelPath } from './guest.ts';
import { builtSelftests, DEVICE_SELFTEST, SELFTESTS } from './kernel-source.ts';
import { openMachine } from './made-here.ts';

const PROGRAM = fileURLToPath(new URL('./guest/selftests.ts', import.meta.url));

/** Sessions, each with its files: token and text. */
function* left(): Generator<[session: string, files: [token: number, text: string][]]> {
  yield ['kexec_simple_state', [[999, '2']]];
  yield ['test-session', [[0x1a, 'hello kexec world']]];
  yield ['kexec_multi_state', [[998, '2']]];
  yield ['multi-test-empty-1', []];
  yield ['multi-test-empty-2', []];
  yield ['multi-test-files-1', [[0x1001, 'Data for session files 1']]];
  yield [
    'multi-test-files-2',
    [
      [0x2002, 'First file for session files 2'],
      [0x3003, 'Second file for session files 2'],
    ],
  ];
  yield ['kexec_many_files_state', [[9999, '2']]];
  yield ['many_files_session', Array.from({ length: 500 }, (_, i) => [i, `file-data-${i}`])];
  yield ['kexec_many_state', [[999, '2']]];
  for (let i = 0; i < 2000; i++) yield [`many-test-${i}`, []];
}

test("Linux's own tests find what ours has handed over", async (context) => {
  const built = builtSelftests();
  if ('why' in built) return context.skip(built.why);
  const { ram, kho, shmem, luo } = openMachine({ memory: 512 });
  for (const [name, files] of left()) {
    const session = luo.createSession(name);
    for (const [token, text] of files) {
      const file = shmem.memfdCreate('selftest');
      file.truncate(PAGE_SIZE);
      file.pwrite(new TextEncoder().encode(text), 0);
      await session.preserve(file, token);
    }
  }
  await luo.reboot();
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-selftests-'));
  onTestFinished(() => {
    fs.rmSync(folder, { recursive: true });
  });
  const kernel = fs.readFileSync(kernelPath() ?? '');
  const image = await writeBootImage(folder, { ram, entry: kho.entry, kernel });
  const env = { GUEST_FOLDER: built.folder, GUEST_STAGED: SELFTESTS.join(), GUEST_ALONE: DEVICE_SELFTEST };
  await using guest = await Guest.start({ program: PROGRAM, image, env });
  await guest.until('tested');
  const ran = guest.events.filter(({ event }) => event === 'selftest');
  expect(ran.map(({ name }) => name)).toEqual([...SELFTESTS, DEVICE_SELFTEST]);
  for (const { name, status, said } of ran) expect({ name, said, status }).toMatchObject({ status: 0 });
});
