import { describe, expect, test } from 'vitest';
import { readSystemdMap } from './systemd-session.ts';
import { Directory, newMachine, preserveFile, runHere } from './test-cli.ts';

const NESTED = {
  version: 1,
  state: {},
  units: {
    'web.service': {
      fdstore: [
        { type: 'fd', name: 'cache', token: 1 },
        { type: 'luo_session', name: 'guest', sessionName: 'web.service/vm' },
      ],
    },
    'db.service': { fdstore: [{ type: 'fd', name: 'log\u001b[2J', token: 7 }] },
  },
};
const FLAT = { 'web.service': [{ type: 'fd', name: 'cache', fd_index: 1 }] };

describe('the map', () => {
  test.each([
    ['units below', NESTED, 2, 1],
    ['units at the top', FLAT, 1, 0],
  ])('%s', (_, map, tokens, sessions) => {
    const read = readSystemdMap(JSON.stringify(map));
    expect(read?.tokens.get(1n)).toEqual({ unit: 'web.service', name: 'cache' });
    expect([read?.tokens.size, read?.sessions.size]).toEqual([tokens, sessions]);
  });

  test.each([
    '',
    '{',
    '[]',
    '5',
    '{}',
    '{"a":5}',
    '{"a":[5,null,{"token":-1},{"token":1e99}]}',
    '{"units":[]}',
  ])('%j is none', (text) => {
    expect(readSystemdMap(text)).toBeUndefined();
  });
});

test('files of the session are shown by unit and name, sessions of units too, in text and JSON', async () => {
  using directory = new Directory();
  const path = `${directory.path}/ram`;
  const machine = await newMachine(path, '4MiB');
  const { shmem, luo } = machine.kernel;
  const session = luo.createSession('systemd');
  for (const [token, content] of [
    [0n, Buffer.from(JSON.stringify(NESTED))],
    [1n, Buffer.from('hot')],
    [9n, Buffer.from('nobody knows')],
  ] as const) {
    const file = shmem.memfdCreate('test', 0);
    file.pwrite(content, 0);
    await session.preserve(file, token);
  }
  await preserveFile(machine, 'web.service/vm', 1n, Buffer.from('guest'));
  await machine.handOver();
  const { stdout } = await runHere('inspect', path);
  expect(stdout).toMatch(/token 1 {2}memfd-v2 .*web\.service: cache\n/);
  expect(stdout).toMatch(/web\.service\/vm {2}1 file, 5 B, of web\.service: guest\n/);
  expect(stdout).toMatch(/token 9 {2}memfd-v2 {2}12 B .*4 KiB\n/);
  const report = JSON.parse((await runHere('inspect', '--json', path)).stdout) as {
    sessions: { systemd?: object; files: { systemd?: object }[] }[];
  };
  expect(report.sessions[0].files[1].systemd).toEqual({ unit: 'web.service', name: 'cache' });
  expect(report.sessions[0].files[2].systemd).toBeUndefined();
  expect(report.sessions[1].systemd).toEqual({ unit: 'web.service', name: 'guest' });
});

test('a session of that name without a map is like any other', async () => {
  using directory = new Directory();
  const path = `${directory.path}/ram`;
  const machine = await newMachine(path, '4MiB');
  await preserveFile(machine, 'systemd', 0n, Buffer.from('no map'));
  await machine.handOver();
  const { status, stdout } = await runHere('inspect', path);
  expect(status).toBe(0);
  expect(stdout).toContain('systemd  1 file, 6 B\n');
});

test('names that are longer than systemd has them are cut', () => {
  const map = readSystemdMap(
    JSON.stringify({ units: { ['u'.repeat(10_000)]: [{ name: 'n'.repeat(10_000), token: 1 }] } }),
  );
  const { unit, name } = map?.tokens.get(1n) ?? { unit: '', name: '' };
  expect([unit.length, name.length]).toEqual([255, 255]);
});
