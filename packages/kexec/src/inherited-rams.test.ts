/**
 * Real processes that pass several RAMs from generation to generation, by name, by descriptor, and
 * without either.
 */
import * as fs from 'node:fs';
import { duplicateFrom, Memfd } from '@liveupdate/linux';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  adoptPassedRams,
  claimPassed,
  parsePassed,
  passedVariable,
  RAM_FD_VARIABLE,
  waitingRams,
} from './inherited-rams.ts';
import { Machine } from './machine.ts';
import { Program, removeRam, testName } from './test-process.ts';

const SIZE = 8 * 2 ** 20;
const MFD_CLOEXEC = 1;

let name: string;
beforeEach(() => {
  name = testName();
  onTestFinished(() => {
    for (const end of ['', '-a', '-b', '-new']) removeRam(name + end);
  });
});

/** A memfd, as a service manager keeps one. */
function memfd(): Memfd {
  const file = Memfd.create('test', MFD_CLOEXEC);
  onTestFinished(() => {
    file.close();
  });
  file.truncate(SIZE);
  return file;
}

const OPEN = `
const generation = Number(process.env.GENERATION ?? 1);
const SOURCES = { a: { name: NAME + '-a' }, b: { path: '/dev/shm/liveupdate.' + NAME + '-b' }, u: {}, v: {}, f: { fd: 3 } };
const opened = {};
/** Opens a machine and adds the number of this generation to the text in its file. */
async function visit(letter) {
  const machine = (opened[letter] = await Machine.open({ size: letter === 'f' ? undefined : '8MiB', ...SOURCES[letter] }));
  const { luo, shmem } = machine.kernel;
  let file;
  if (machine.origin === 'cold') {
    file = shmem.memfdCreate('f');
    file.write(new TextEncoder().encode(letter));
  } else {
    const before = luo.retrieveSession('s');
    file = await before.retrieve(1);
    await before.finish();
  }
  file.pwrite(new TextEncoder().encode(String(generation)), file.size);
  await luo.createSession('s').preserve(file, 1);
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  return new TextDecoder().decode(bytes);
}
const visitAll = async (letters) => {
  const texts = [];
  for (const letter of letters) texts.push(await visit(letter));
  say(generation, ...texts);
};
const next = (options) => Object.values(opened)[0].kexec(undefined, { env: { ...process.env, GENERATION: String(generation + 1) }, ...options });
`;

describe('the machines of a process', () => {
  it('go along with a kexec of one of them, asked for again or not, and none gets the RAM of another', async () => {
    using program = new Program(`${OPEN}
      import { execFileSync } from 'node:child_process';
      await visitAll([['a', 'u', 'b', 'v', 'f'], ['f', 'b', 'u', 'v', 'a'], ['u', 'f'], ['b', 'u', 'a', 'v', 'f']][generation - 1]);
      if (generation === 2) {
        const other = await Machine.open({ name: NAME + '-new', size: '8MiB' });
        const unnamed = await Machine.open({ size: '8MiB' });
        say(other.origin, unnamed.origin);
        other.remove();
        unnamed.close();
      }
      if (generation === 3) {
        const seen = execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
        say(seen.split('\\n').filter((line) => /shm|memfd/.test(line)).join(';') || 'none', process.env[RAM_FD_VARIABLE]);
      }
      if (generation < 4) await next();
      for (const machine of Object.values(opened)) machine.remove();`);
    const { lines, status } = await program.runBeside(name, { fd: memfd().fd });
    expect(lines).toEqual([
      '1 a1 u1 b1 v1 f1',
      '2 f12 b12 u12 v12 a12',
      'cold cold',
      '3 u123 f123',
      'none ',
      '4 b124 u1234 a124 v124 f1234',
    ]);
    expect(status).toBe(0);
  });

  it('are not lost by an open that fails', async () => {
    using program = new Program(`${OPEN}
      const letters = ['a', 'u', 'f'];
      if (generation === 2)
        for (const letter of letters) say(await Machine.open({ size: '8MiB', ...SOURCES[letter], handlers: () => [] }).catch(codeOf));
      await visitAll(letters);
      if (generation < 2) await next();
      for (const machine of Object.values(opened)) machine.remove();`);
    const { lines } = await program.runBeside(name, { fd: memfd().fd });
    expect(lines).toEqual(['1 a1 u1 f1', 'ENOENT', 'ENOENT', 'ENOENT', '2 a12 u12 f12']);
  });
});

describe('descriptors that were kept', () => {
  const LARGE = Array.from({ length: 300_000 }, (_, i) => 64 + i);
  it.each([
    ['none', []],
    ['one', [64]],
    ['in rows', [70, 71, 72, 90, 65, 91]],
    ['very many', LARGE],
  ])('are told of: %s', (_, keeps) => {
    const fd = fs.openSync('/dev/null', 'r');
    const env: Record<string, string | undefined> = passedVariable([{ fd, path: undefined, keeps }]);
    expect(env[RAM_FD_VARIABLE]!.length).toBeLessThan(1000);
    const [ram] = parsePassed(env[RAM_FD_VARIABLE]!);
    expect(ram.fd).toBe(fd);
    expect(ram.keeps ?? []).toEqual(keeps.toSorted((a, b) => a - b));
    fs.closeSync(fd);
  });

  it('that the program closes while they wait do not go along, whatever has their number then', () => {
    const fd = fs.openSync('/dev/null', 'r');
    const [closed, reused, kept] = [1, 2, 3].map(() => duplicateFrom(Memfd.create('kept', 1).fd, 100));
    adoptPassedRams(passedVariable([{ fd, path: undefined, keeps: [closed, reused, kept] }]));
    fs.closeSync(closed);
    fs.closeSync(reused);
    const other = duplicateFrom(fd, reused);
    const ram = waitingRams().find((each) => each.fd === fd)!;
    expect([other, ram.keeps]).toEqual([reused, [kept]]);
    claimPassed(ram);
    for (const each of [fd, reused, kept]) fs.closeSync(each);
  });

  it.each(['5', [5], [64], [3, 1], [64, 0.5], [64, 2, 65, 1], [64, 2 ** 30], [-1, 1], ['a', 1]])(
    'that are told of by %j are refused',
    (keeps) => {
      const env = { [RAM_FD_VARIABLE]: JSON.stringify([{ fd: 0, keeps }]) };
      expect(() => {
        adoptPassedRams(env);
      }).toThrow(expect.objectContaining({ code: 'EINVAL' }));
      expect(waitingRams()).toEqual([]);
    },
  );
});

describe('a memfd that somebody else keeps', () => {
  it('is handed over to who opens it next, has one owner, and goes through kexec meanwhile', async () => {
    using program = new Program(`${OPEN}
      const other = await Machine.open({ fd: 3 }).catch(codeOf);
      if (process.env.WAITS) say(other);
      else {
        if (typeof other !== 'string') {
          say(other.origin, other.generation);
          const { luo, shmem } = other.kernel;
          if (other.origin === 'handover') {
            const session = luo.retrieveSession('s');
            const file = await session.retrieve(1);
            const bytes = new Uint8Array(file.size);
            file.pread(bytes, 0);
            say(new TextDecoder().decode(bytes));
            await luo.createSession('s').preserve(file, 1);
            await session.finish();
          } else {
            const file = shmem.memfdCreate('f');
            file.write(new TextEncoder().encode('kept'));
            await luo.createSession('s').preserve(file, 1);
          }
          if (generation === 1) await other.kexec(undefined, { env: { ...process.env, GENERATION: '2' } });
          await other.handOver();
          say('handed over');
        }
      }`);
    const { fd } = memfd();
    const first = await program.runBeside(name, { fd });
    expect(first.lines).toEqual(['cold 1', 'handover 2', 'kept', 'handed over']);
    const here = await Machine.open({ fd: fs.openSync(`/proc/self/fd/${fd}`, 'r+') });
    expect([here.origin, here.generation]).toEqual(['handover', 3]);
    const refused = await program.runBeside(name, { fd, env: { WAITS: '1' } });
    expect(refused.lines).toEqual(['EBUSY']);
    here.close();
  });
});

it('two owners of one open file description there are not', async () => {
  const { fd } = memfd();
  const machine = await Machine.open({ fd: fs.openSync(`/proc/self/fd/${fd}`, 'r+') });
  await machine.handOver();
  using program = new Program(`
    const machine = await Machine.open({ fd: 3 });
    say(machine.origin, await Machine.open({ fd: 4 }).catch(codeOf));`);
  const { lines } = await program.runBeside(name, { fd, shell: 'exec "$@" 4<&3' });
  expect(lines).toEqual(['handover EBUSY']);
});

describe('the variable', () => {
  const notOpen = 9999;
  it.each([
    ['nothing', undefined, ''],
    ['empty', '', ''],
    ['of an older version, not open', String(notOpen), 'EBADF'],
    ['not open', JSON.stringify([{ fd: notOpen }]), 'EBADF'],
    ['no JSON', '[', 'EINVAL'],
    ['no list', '{}', 'EINVAL'],
    ['no RAM', '[1]', 'EINVAL'],
    ['no descriptor', '[{}]', 'EINVAL'],
    ['a negative descriptor', '[{"fd":-1}]', 'EINVAL'],
    ['no path', '[{"fd":0,"path":1}]', 'EINVAL'],
    ['no number', '[{"fd":0,"as":"3"}]', 'EINVAL'],
  ])('that holds %s', (_, value, code) => {
    const env = { LIVEUPDATE_RAM_FD: value };
    const adopt = (): void => {
      adoptPassedRams(env);
    };
    if (code === '') adopt();
    else expect(adopt).toThrow(expect.objectContaining({ code }));
    expect(env.LIVEUPDATE_RAM_FD).toBe(value);
  });
});
