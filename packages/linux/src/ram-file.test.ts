import * as fs from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addSeals, F_SEAL_GROW, lockByte, memfdCreate, MFD_ALLOW_SEALING } from './libc.ts';
import { MappedRam } from './mapped-ram.ts';
import { RamFile } from './ram-file.ts';
import { runChild } from './test-child.ts';
import { codeOfThrown } from './test-thrown.ts';
import { UnnamedFile } from './unnamed-file.ts';

const MiB = 2 ** 20;
const TiB = 2 ** 40;
/** Of the memory that frames of 32 bits can name, the first byte that is too much. */
const TOO_MUCH = 16 * TiB + 4096;

let directory: string;
let path: string;

beforeEach(() => {
  directory = fs.mkdtempSync('/dev/shm/liveupdate-test-file-');
  path = join(directory, 'x.ram');
});

afterEach(() => {
  fs.rmSync(directory, { recursive: true });
});

function fileOf(size: number, content?: [at: number, byte: number]): string {
  fs.writeFileSync(path, '', { mode: 0o600 });
  fs.truncateSync(path, size);
  if (content) {
    const fd = fs.openSync(path, 'r+');
    fs.writeSync(fd, Uint8Array.of(content[1]), 0, 1, content[0]);
    fs.closeSync(fd);
  }
  return path;
}

describe('a new file', () => {
  test('has no name until it is linked, and then it is whole', () => {
    using file = RamFile.create({ path, size: MiB });
    expect(fs.readdirSync(directory)).toEqual([]);
    expect([file.size, file.isBlank(), file.isAt(path)]).toEqual([MiB, true, false]);
    file.link();
    expect(fs.readdirSync(directory)).toEqual([basename(path)]);
    expect([file.isAt(path), fs.statSync(path).mode & 0o777, fs.statSync(path).nlink]).toEqual([
      true,
      0o600,
      1,
    ]);
  });

  test('does not go over what is there, a dangling link included', () => {
    for (const put of [() => fs.writeFileSync(path, 'theirs'), () => fs.symlinkSync('nowhere', path)]) {
      using file = RamFile.create({ path, size: MiB });
      put();
      expect(codeOfThrown(() => file.link())).toBe('EEXIST');
      fs.rmSync(path);
      file.link();
      fs.rmSync(path);
    }
  });

  test('leaves nothing where it is closed, or its maker killed, before it is linked', () => {
    RamFile.create({ path, size: MiB }).close();
    const code = `
      import { RamFile } from './src/index.ts';
      RamFile.create({ path: process.env.RAM_PATH, size: 1048576 });
      process.kill(process.pid, 'SIGKILL');`;
    expect(runChild(code, { RAM_PATH: path })).toMatchObject({ signal: 'SIGKILL', stderr: '' });
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  test('is linked where it was to be, also when the working directory is another by then', () => {
    const code = `
      import { RamFile } from './src/index.ts';
      const { HOME_PATH } = process.env;
      process.chdir(HOME_PATH);
      const file = RamFile.create({ path: 'x.ram', size: 1048576 });
      process.chdir('/');
      file.link();`;
    expect(runChild(code, { HOME_PATH: directory })).toMatchObject({ status: 0, stderr: '' });
    expect(fs.readdirSync(directory)).toEqual(['x.ram']);
  });
});

describe('where the file system has no O_TMPFILE', () => {
  const without = (): never => {
    throw Object.assign(new Error('EOPNOTSUPP'), { code: 'EOPNOTSUPP' });
  };
  const make = (): UnnamedFile => UnnamedFile.make(path, 0o600, without);

  test('a temporary name stands in, and is gone after the link', () => {
    const file = make();
    const [temporary, ...others] = fs.readdirSync(directory);
    expect(others).toEqual([]);
    expect(temporary).toMatch(/^\.x\.ram\..*\.making$/);
    file.link();
    expect(fs.readdirSync(directory)).toEqual(['x.ram']);
    expect(fs.statSync(path).nlink).toBe(1);
    fs.closeSync(file.fd);
  });

  test('it does not go over what is there, and can be given up', () => {
    const file = make();
    fs.writeFileSync(path, 'theirs');
    expect(codeOfThrown(() => file.link())).toBe('EEXIST');
    file.discard();
    expect(fs.readdirSync(directory)).toEqual(['x.ram']);
    expect(fs.readFileSync(path, 'utf8')).toBe('theirs');
    fs.closeSync(file.fd);
  });

  test('what a dead maker left goes with the next one, what a live one has stays', () => {
    const live = make();
    const dead = `.x.ram.1-a.making`;
    fs.writeFileSync(join(directory, dead), '');
    fs.mkdirSync(join(directory, '.x.ram.2-b.making'));
    fs.writeFileSync(join(directory, '.y.ram.1-a.making'), '');
    const next = make();
    const there = fs.readdirSync(directory);
    expect(there).not.toContain(dead);
    expect(there.length).toBe(4); // the two, a directory, and another RAM's
    live.link();
    expect(codeOfThrown(() => next.link())).toBe('EEXIST');
    next.discard();
    for (const { fd } of [live, next]) fs.closeSync(fd);
  });

  test('another failure is none of that', () => {
    expect(codeOfThrown(() => UnnamedFile.make(join(directory, 'none/x'), 0o600))).toBe('ENOENT');
    fs.writeFileSync(path, '');
    expect(codeOfThrown(() => UnnamedFile.make(`${path}/x`, 0o600))).toBe('ENOTDIR');
  });
});

describe('a borrowed descriptor', () => {
  test.for(['low', 'high'])('stays with its owner until it is kept: a %s one', (height) => {
    fileOf(MiB);
    const low = fs.openSync(path, 'r+');
    const fd = height === 'low' ? low : RamFile.borrow(low).fd;
    const isOpen = (): boolean => fs.existsSync(`/proc/self/fd/${fd}`);
    RamFile.borrow(fd).close();
    expect(isOpen()).toBe(true);
    const file = RamFile.borrow(fd);
    file.keep();
    expect(isOpen()).toBe(height === 'high');
    expect(file.fd).toBeGreaterThanOrEqual(64);
    file.close();
    expect([isOpen(), fs.existsSync(`/proc/self/fd/${file.fd}`)]).toEqual([false, false]);
    if (fd !== low) fs.closeSync(low);
  });

  test('that is no RAM is left open by MappedRam.fromFd', () => {
    fileOf(100);
    const fd = fs.openSync(path, 'r+');
    expect(codeOfThrown(() => MappedRam.fromFd(fd))).toBe('EINVAL');
    expect(fs.fstatSync(fd).size).toBe(100);
    fs.closeSync(fd);
  });
});

describe('sizes', () => {
  test('a RAM may be smaller than its file: what lies behind is not shown', () => {
    fileOf(4 * MiB, [3 * MiB, 7]);
    using ram = MappedRam.of(RamFile.open(path), { size: MiB, path });
    expect(ram.size).toBe(MiB);
    expect(codeOfThrown(() => ram.bytes(MiB, 1))).toBe('EFAULT');
    expect(ram.dataPieces()).toEqual([]);
    ram.bytes(MiB - 1, 1)[0] = 1;
    expect(ram.dataPieces()).toEqual([{ pa: MiB - 4096, length: 4096 }]);
  });

  test('it cannot be larger', () => {
    fileOf(MiB);
    expect(codeOfThrown(() => MappedRam.of(RamFile.open(path), { size: 2 * MiB }))).toBe('EINVAL');
  });

  test('a file grows by holes, and what is cut off is gone', () => {
    using file = RamFile.open(fileOf(MiB, [MiB - 1, 7]));
    file.resize(2 * MiB);
    file.resize(MiB - 4096);
    file.resize(2 * MiB);
    expect([file.size, file.isBlank()]).toEqual([2 * MiB, true]);
  });

  test('a sealed one does not: EPERM', () => {
    const fd = memfdCreate('x', MFD_ALLOW_SEALING);
    fs.ftruncateSync(fd, MiB);
    addSeals(fd, F_SEAL_GROW);
    using file = RamFile.borrow(fd);
    expect(codeOfThrown(() => file.resize(2 * MiB))).toBe('EPERM');
    fs.closeSync(fd);
  });

  test('more than the tables hold is EINVAL at once, on every way in, and says how much they hold', () => {
    fileOf(TOO_MUCH);
    const fd = fs.openSync(path, 'r+');
    const ways = {
      create: () => MappedRam.create({ path: join(directory, 'new'), size: TOO_MUCH }),
      anonymous: () => MappedRam.anonymous({ name: 'x', size: TOO_MUCH }),
      open: () => MappedRam.open({ path }),
      fromFd: () => MappedRam.fromFd(fd),
    };
    for (const [name, way] of Object.entries(ways)) {
      expect([name, codeOfThrown(way)]).toEqual([name, 'EINVAL']);
      expect(way).toThrow('16 TiB');
    }
    fs.closeSync(fd);
    expect(fs.readdirSync(directory)).toEqual(['x.ram']);
  });

  test('the most that they hold can be mapped', () => {
    using ram = MappedRam.create({ path, size: 16 * TiB });
    ram.bytes(16 * TiB - 1, 1)[0] = 9;
    expect(ram.dataPieces()).toEqual([{ pa: 16 * TiB - 4096, length: 4096 }]);
  });
});

describe('content', () => {
  test.for<[what: string, size: number, content: [number, number] | undefined, blank: boolean]>([
    ['no byte', 0, undefined, true],
    ['holes', 64 * MiB, undefined, true],
    ['zeros that take memory', 64 * MiB, [MiB, 0], true],
    ['a byte at the start', 4 * MiB, [0, 1], false],
    ['a byte at the end', 64 * MiB, [64 * MiB - 1, 1], false],
  ])('a file of %s', ([, size, content, blank]) => {
    using file = RamFile.open(fileOf(size, content));
    expect(file.isBlank()).toBe(blank);
  });

  test('a look at the first page takes no memory', () => {
    using file = RamFile.open(fileOf(4 * MiB));
    expect(file.firstPage()).toEqual(new Uint8Array(4096));
    expect(fs.statSync(path).blocks).toBe(0);
    file.reserveFirstPage();
    expect(fs.statSync(path).blocks).toBe(8);
  });

  test('a lock on a file that is made is the owner’s, and the maker’s is another', () => {
    using file = RamFile.create({ path, size: MiB });
    expect(lockByte(file.fd, 0)).toBe(true);
    file.link();
    using other = RamFile.open(path);
    expect([lockByte(other.fd, 0), lockByte(other.fd, 1)]).toEqual([false, true]);
  });
});
