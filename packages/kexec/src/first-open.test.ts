/** The first open of a RAM: its name is there when it is whole, whoever dies or is quicker. */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { PAGE_SIZE } from '@liveupdate/base';
import { MappedRam } from '@liveupdate/linux';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';
import type { MachineOptions } from './machine-options.ts';
import { Program } from './test-process.ts';

const SIZE = 16 * 2 ** 20;
const codeFrom = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'nothing',
    (error: unknown) => (error as { code: string }).code,
  );

let directory: string;
let path: string;

beforeEach(() => {
  directory = fs.mkdtempSync('/dev/shm/liveupdate-test-first-');
  path = `${directory}/ram`;
});

afterEach(() => {
  fs.rmSync(directory, { recursive: true });
});

function putFile(size: number, content?: [at: number, byte: number]): void {
  fs.writeFileSync(path, '', { mode: 0o600 });
  fs.truncateSync(path, size);
  if (!content) return;
  const fd = fs.openSync(path, 'r+');
  fs.writeSync(fd, Uint8Array.of(content[1]), 0, 1, content[0]);
  fs.closeSync(fd);
}

describe('a RAM that is made', () => {
  it('has its name when it is whole, and not before', async () => {
    const seen: string[][] = [];
    const handlers: MachineOptions['handlers'] = () => {
      seen.push(fs.readdirSync(directory));
      return [];
    };
    const machine = await Machine.open({ path, size: SIZE, handlers });
    expect([seen, fs.readdirSync(directory)]).toEqual([[[]], ['ram']]);
    machine.remove();
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  it('is gone where its boot is refused, or its maker dies in it', async () => {
    const refused = Machine.open({
      path,
      size: SIZE,
      handlers: () => {
        throw new Error('no');
      },
    });
    await expect(refused).rejects.toThrow('no');
    using program = new Program(`
      await Machine.open({ path: process.env.TEST_NAME, size: ${SIZE}, handlers: () => process.kill(process.pid, 'SIGKILL') });`);
    expect(program.run(path).signal).toBe('SIGKILL');
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  it('goes to whoever is quicker, and the other gets EBUSY', async () => {
    let quicker: Promise<Machine> | undefined;
    const slow = Machine.open({
      path,
      size: SIZE,
      handlers: () => {
        quicker ??= Machine.open({ path, size: SIZE });
        return [];
      },
    });
    expect(await codeFrom(slow)).toBe('EBUSY');
    const owner = await quicker;
    expect(owner?.generation).toBe(1);
    owner?.remove();
  });

  it('is what another left there meanwhile, where nobody owns that', async () => {
    let boots = 0;
    const handlers: MachineOptions['handlers'] = () => {
      boots += 1;
      if (boots === 1) MappedRam.create({ path, size: SIZE }).close();
      return [];
    };
    const machine = await Machine.open({ path, size: SIZE, handlers });
    expect([boots, machine.generation, fs.readdirSync(directory)]).toEqual([2, 1, ['ram']]);
    machine.remove();
  });
});

describe('half-made by an older version, it counts as new', () => {
  it.each<[what: string, bytes: number, size: number | undefined, content?: [number, number]]>([
    ['empty', 0, SIZE],
    ['holes', SIZE, SIZE],
    ['holes, and no size is asked for', SIZE, undefined],
    ['holes of another size', SIZE / 2, SIZE],
    ['holes of a larger size', SIZE * 2, SIZE],
    ['zeros that take memory', SIZE, SIZE, [SIZE / 2, 0]],
  ])('%s', async (_, bytes, size, content) => {
    putFile(bytes, content);
    const machine = await Machine.open({ path, ...(size !== undefined && { size }) });
    expect([machine.generation, machine.origin, machine.ram.size]).toEqual([1, 'cold', SIZE]);
    expect(fs.statSync(path).size).toBe(SIZE);
    await machine.handOver();
    const next = await Machine.open({ path });
    expect([next.generation, next.origin]).toEqual([2, 'handover']);
    next.remove();
  });

  it('one owner decides: EBUSY for the other', async () => {
    putFile(0);
    const first = await Machine.open({ path, size: SIZE });
    expect(await codeFrom(Machine.open({ path, size: SIZE }))).toBe('EBUSY');
    first.remove();
  });

  it.each<[what: string, bytes: number, size: number | undefined, code: string, content?: [number, number]]>([
    ['empty, and no size is asked for', 0, undefined, 'ENOENT'],
    ['no whole pages', 100, SIZE, 'EINVAL'],
    ['one page', PAGE_SIZE, SIZE, 'EINVAL'],
    ['with content behind a blank page', SIZE, SIZE, 'EINVAL', [SIZE - 1, 7]],
    ['too large for the tables', 2 ** 44 + PAGE_SIZE, undefined, 'EINVAL'],
    ['too small for a kernel', 2 * PAGE_SIZE, undefined, 'EINVAL'],
  ])('but not where it is %s', async (_, bytes, size, code, content) => {
    putFile(bytes, content);
    expect(await codeFrom(Machine.open({ path, ...(size !== undefined && { size }) }))).toBe(code);
    expect(fs.statSync(path).size).toBe(bytes);
  });

  it('a boot that is refused leaves it as it was', async () => {
    putFile(0);
    const handlers = (): never => {
      throw new Error('no');
    };
    await expect(Machine.open({ path, size: SIZE, handlers })).rejects.toThrow('no');
    expect(fs.statSync(path)).toMatchObject({ size: 0, blocks: 0 });
    (await Machine.open({ path, size: SIZE })).remove();
  });

  it('a descriptor that a service manager made is one too', async () => {
    putFile(0);
    const fd = fs.openSync(path, 'r+');
    const machine = await Machine.open({ fd, size: SIZE });
    expect([machine.generation, machine.ram.size]).toEqual([1, SIZE]);
    machine.close();
  });
});

describe('more RAM than the tables hold', () => {
  it.each<[what: string, source: () => MachineOptions]>([
    ['by name', () => ({ name: 'test-too-large', size: '17TiB' })],
    ['by path', () => ({ path, size: 2 ** 44 + PAGE_SIZE })],
    ['without a name', () => ({ size: '17TiB' })],
    [
      'where a smaller one is there',
      () => {
        MappedRam.create({ path, size: SIZE }).close();
        return { path, size: '17TiB' };
      },
    ],
  ])('is EINVAL at once, and names the limit: %s', async (_, source) => {
    const refused = Machine.open(source());
    await expect(refused).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(refused).rejects.toThrow('16 TiB');
  });
});

/**
 * Starts a program several times, side by side, and resolves with their lines when all have ended.
 */
async function together(program: Program, count: number): Promise<string[]> {
  const ended = Array.from({ length: count }, async () => {
    const child = spawn(...program.command(path));
    let out = '';
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
      child.once('close', (...end) => {
        resolve(end);
      });
    });
    return [...out.trim().split('\n'), `end ${code ?? signal ?? ''}`];
  });
  return (await Promise.all(ended)).flat();
}

describe('many first openers at once', () => {
  const ROUNDS = 60;
  const OPENERS = 4;

  it('one owns it, all others get EBUSY; nothing is left', async () => {
    // A round begins when all are there: the last to arrive is seen by all. Every third finds the
    // file half-made.
    using program = new Program(`
      import * as fs from 'node:fs';
      const arrive = (what) => {
        fs.appendFileSync(NAME + '.' + what, '.');
        while (fs.statSync(NAME + '.' + what).size < ${OPENERS});
      };
      for (let round = 0; round < ${ROUNDS}; round++) {
        if (round % 3 === 0) fs.closeSync(fs.openSync(NAME, 'a', 0o600));
        arrive(round + 'a');
        const machine = await Machine.open({ path: NAME, size: ${SIZE} }).catch(codeOf);
        say(round, machine instanceof Machine ? 'owner ' + machine.generation : machine);
        arrive(round + 'b');
        if (machine instanceof Machine) machine.remove();
        arrive(round + 'c');
      }`);
    const lines = await together(program, OPENERS);
    for (let round = 0; round < ROUNDS; round++) {
      const told = lines.filter((line) => line.startsWith(`${round} `)).sort();
      expect(told).toEqual([...Array<string>(OPENERS - 1).fill(`${round} EBUSY`), `${round} owner 1`]);
    }
    expect(lines.filter((line) => line === 'end 0').length).toBe(OPENERS);
    expect(fs.readdirSync(directory).filter((file) => !/^ram\.\d+[abc]$/.test(file))).toEqual([]);
  });

  it('that remove it again: never two owners, never another error', async () => {
    using program = new Program(`
      import * as fs from 'node:fs';
      const told = {};
      for (let times = 0; times < 400; times++) {
        const machine = await Machine.open({ path: NAME, size: ${SIZE} }).catch(codeOf);
        const what = machine instanceof Machine ? 'owner' : machine;
        told[what] = (told[what] ?? 0) + 1;
        if (!(machine instanceof Machine)) continue;
        fs.closeSync(fs.openSync(NAME + '.owner', 'wx')); // EEXIST where there is another
        if (!fs.existsSync(NAME)) say('not there');
        fs.rmSync(NAME + '.owner');
        machine.remove();
      }
      say(...Object.keys(told).sort());`);
    const lines = await together(program, OPENERS);
    expect([...new Set(lines)].sort()).toEqual(expect.arrayContaining(['end 0']));
    // One that always came late is no fault.
    for (const line of lines) expect(['EBUSY', 'EBUSY owner', 'owner', 'end 0']).toContain(line);
    expect(lines.some((line) => line.includes('owner'))).toBe(true);
    expect(fs.readdirSync(directory)).toEqual([]);
  });
});

it('killed at any moment of the first open: the name is not there, or it opens', async () => {
  using program = new Program(`
    say('ready');
    for (;;) {
      const machine = await Machine.open({ path: NAME, size: ${SIZE}, onCrash: 'cold' });
      await new Promise((resolve) => setTimeout(resolve, 3)); // or it would hardly ever be there
      machine.remove();
    }`);
  const killed = async (n: number): Promise<'absent' | 'there'> => {
    const at = `${path}-${n}`;
    const child = await program.start(at);
    await sleep(n * 0.7);
    await child.end('SIGKILL');
    if (!fs.existsSync(at)) return 'absent';
    const machine = await Machine.open({ path: at, onCrash: 'cold' });
    machine.kernel.pages.assertConsistent();
    machine.remove();
    return 'there';
  };
  const ends = await Promise.all(Array.from({ length: 12 }, (_, n) => killed(n)));
  expect(ends).toContain('absent');
  expect(fs.readdirSync(directory)).toEqual([]);
}, 120_000);
