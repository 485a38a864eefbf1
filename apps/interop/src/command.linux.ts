/** `liveupdate kernel` on a real Linux: what it preserves, the next kernel has. */
import * as fs from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleCommand, Guest, whyNoGuest, type GuestEvent } from './guest.ts';

const PROGRAM = fileURLToPath(new URL('./guest/test-command.ts', import.meta.url));

interface Ran {
  readonly args: readonly string[];
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let bundle: Awaited<ReturnType<typeof bundleCommand>> | undefined;
let command = '';
beforeAll(async () => {
  if (whyNoGuest() === undefined) bundle = await bundleCommand();
  command = bundle?.main ?? '';
});
afterAll(() => {
  if (bundle) fs.rmSync(bundle.folder, { recursive: true });
});

const isRun = ({ event }: GuestEvent): boolean => event === 'ran';

test('files are preserved, the kernel is replaced, and they are retrieved', async () => {
  await using guest = await Guest.start({ program: PROGRAM, env: { GUEST_CLI: command } });
  const { files, out } = await guest.until('done');
  const ran = guest.events.filter(isRun) as unknown as Ran[];
  const next = (): Ran => ran.shift() ?? { args: [], status: null, stdout: '', stderr: '' };
  /** The next run failed with one line that says so. */
  const refused = (code: string): void => {
    const { args, status, stdout, stderr } = next();
    expect([args, status, stdout, stderr]).toEqual([
      args,
      1,
      '',
      expect.stringMatching(new RegExp(`^liveupdate: ${code}: [^\\n]+\\n$`)),
    ]);
  };
  const fine = (stdout: unknown, stderr: unknown = ''): void => {
    expect(next()).toMatchObject({ status: 0, stdout, stderr });
  };
  const json = (): unknown => {
    const { status, stdout, stderr } = next();
    expect([status, stderr]).toEqual([0, '']);
    return JSON.parse(stdout);
  };

  expect(json()).toMatchObject({ nextIsLoaded: false, sessions: [] });
  refused('EACCES');
  const held = json() as { pid: number };
  expect(held).toMatchObject({
    session: 'vm',
    files: [
      { token: '1', file: 'state.bin', size: 500_000 },
      { token: '18446744073709551615', file: 'empty.bin', size: 0 },
    ],
  });
  refused('EEXIST');
  fine(expect.stringContaining("session 'piped', 1 file: process"));
  fine(expect.stringContaining("session 'given up', 1 file: process"));
  expect(next()).toMatchObject({
    status: 1,
    stdout: expect.stringContaining("session 'dropped'") as string,
    stderr: expect.stringMatching(/^liveupdate: EINTR: SIGTERM: [^\n]+\n$/) as string,
  });
  refused('EBUSY');
  const { sessions } = json() as { sessions: { holders: { pid: number }[] }[] };
  expect(sessions).toMatchObject([
    { name: 'given up', kind: 'outgoing' },
    { name: 'piped', kind: 'outgoing' },
    { name: 'vm', kind: 'outgoing' },
  ]);
  expect(sessions[2].holders.map(({ pid }) => pid)).toEqual([held.pid]);
  refused('EINVAL'); // no kernel is loaded
  refused('ENOEXEC');
  fine(expect.stringContaining(`/${basename('bzImage')} is loaded with`));
  fine(
    expect.stringMatching(/a kernel is loaded[^]*sessions for the next kernel\n {2}given up +held by \d+ /),
  );

  expect(json()).toMatchObject({ updates: 1, before: expect.stringMatching(/^\d/) as string, sessions: [] });
  refused('ENOENT');
  refused('EEXIST');
  const { status, stdout, stderr } = next();
  expect([status, stdout.split('\n').length, stderr]).toEqual([
    1,
    3,
    expect.stringMatching(/^liveupdate: ENOENT: retrieving token 5: [^\n]+\n$/),
  ]);
  fine('through a pipe');
  fine("session 'given up' is finished: what was in it is given up\n");
  refused('ENOENT');
  refused('EINVAL');
  expect(ran).toEqual([]);
  expect([files, out]).toEqual([['empty.bin', 'out.bin', 'there.bin'], true]);
});

test.each([
  ['live update off', 'liveupdate=off'],
  ['handover off too', 'kho=off liveupdate=off'],
])('%s: one line says so', async (_, append) => {
  await using guest = await Guest.start({
    program: PROGRAM,
    append,
    env: { GUEST_CLI: command, GUEST_STAGE: 0 },
  });
  await guest.until('ran');
  const [ran] = guest.events.filter(isRun) as unknown as Ran[];
  expect(ran).toMatchObject({
    status: 1,
    stdout: '',
    stderr: expect.stringMatching(/^liveupdate: E[A-Z]+: [^\n]*boot[^\n]*\n$/) as string,
  });
});
