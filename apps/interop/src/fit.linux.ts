/**
 * What `liveupdate compat` says of a kernel that differs from the one that runs, and what then
 * becomes of a file: it comes so.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { alterKernel } from './altered-kernel.ts';
import { bundleCommand, Guest, kernelPath, whyNoGuest } from './guest.ts';

const PROGRAM = fileURLToPath(new URL('./guest/test-fit.ts', import.meta.url));

let bundle: Awaited<ReturnType<typeof bundleCommand>> | undefined;
let command = '';
/** The kernels that are replaced by: the guests' root is this machine's. */
let folder = '';
beforeAll(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-fit-'));
  if (whyNoGuest() === undefined) bundle = await bundleCommand();
  command = bundle?.main ?? '';
});
afterAll(() => {
  if (bundle) fs.rmSync(bundle.folder, { recursive: true });
  fs.rmSync(folder, { recursive: true });
});

/** Asked of the kernel that runs, in a guest; the others of its image, which is sooner. */
const ASKED_THERE = [undefined, 'memfd-v2'];

test.for([
  [undefined, 'ok', { opened: 'ok', retrieved: 'ok', file: 'ok' }],
  ['memfd-v2', 'all sessions, as soon as one such file is preserved', { opened: 'EIO', retrieved: 'EIO' }],
  [
    'liveupdate-test-flb-v1',
    'the state that these files share',
    { opened: 'ok', retrieved: 'ok', file: 'ok' },
  ],
  ['kho-v4', 'all of it: the new kernel boots cold', { opened: 'ok', retrieved: 'ENOENT' }],
  ['luo-v5', 'the machine: the new kernel panics', undefined],
] as const)('another %s', async ([name, lost, became], context) => {
  const original = fs.readFileSync(kernelPath() ?? '');
  const altered = name === undefined ? { image: original, name } : alterKernel(original, name);
  if (!altered)
    return context.skip('the kernel cannot be packed again: xz is needed (xz-utils), and a kernel in xz');
  const next = join(folder, `${name ?? 'same'}.bzImage`);
  fs.writeFileSync(next, altered.image);
  const isAskedThere = ASKED_THERE.includes(name);
  await using guest = await Guest.start({
    program: PROGRAM,
    env: { GUEST_CLI: isAskedThere ? command : '', GUEST_NEXT: next },
  });
  const { status, stdout, stderr } = isAskedThere
    ? await guest.until('asked')
    : spawnSync(process.execPath, [command, 'compat', '--json', kernelPath() ?? '', next], {
        encoding: 'utf8',
      });
  expect([status, stderr]).toEqual([name === undefined ? 0 : 1, '']);
  const verdict = JSON.parse(String(stdout)) as {
    rows: { name: string; lost: string }[];
    onlyRead: object[];
  };
  const missing = verdict.rows.filter((row) => row.lost !== '');
  expect(missing).toMatchObject(
    name === undefined ? [] : [{ name, lost: expect.stringContaining(lost) as string }],
  );
  expect(verdict.onlyRead).toMatchObject(name === undefined ? [] : [{ name: altered.name }]);
  if (became) expect(await guest.until('became')).toMatchObject(became);
  else {
    await expect(guest.until('became')).rejects.toThrow('its kernel gave up');
    expect(guest.serial).toContain("LUO state is incompatible with 'luo-v");
  }
});
