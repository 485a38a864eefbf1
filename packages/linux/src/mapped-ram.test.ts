import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { setFlagsFromString } from 'node:v8';
import { afterEach, describe, expect, test } from 'vitest';
import { hostFacts } from './host.ts';
import { closesOnExec, duplicateFrom, getSeals } from './libc.ts';
import { MappedRam } from './mapped-ram.ts';
import { runChild } from './test-child.ts';
import { codeOfThrown } from './test-thrown.ts';
import { viewPieces } from './test-view.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const isRoot = process.geteuid?.() === 0;
const undo: (() => void)[] = [];
let serial = 0;

afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

/** A name in /dev/shm that is gone after the test. */
function shmPath(): string {
  const path = `/dev/shm/liveupdate-test-${process.pid}-${++serial}.ram`;
  undo.push(() => {
    fs.rmSync(path, { force: true, recursive: true });
  });
  return path;
}

function closing(ram: MappedRam): MappedRam {
  undo.push(() => {
    ram.close();
  });
  return ram;
}

function create(size: number): MappedRam {
  return closing(MappedRam.create({ path: shmPath(), size }));
}

/** A tmpfs of its own, or the reason why there can be none. */
function smallTmpfs(size: string): { path: string } | { why: string } {
  if (!isRoot) return { why: 'only root can mount a small tmpfs' };
  const path = fs.mkdtempSync(join(tmpdir(), 'liveupdate-tmpfs-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', path], { stdio: 'pipe' });
  } catch (error) {
    fs.rmdirSync(path);
    return { why: `cannot mount a tmpfs here: ${String(error)}` };
  }
  undo.push(() => {
    execFileSync('umount', [path]);
    fs.rmdirSync(path);
  });
  return { path };
}

describe('a RAM file', () => {
  test('keeps its content from one mapping to the next', () => {
    const path = shmPath();
    const first = closing(MappedRam.create({ path, size: MiB }));
    first.bytes(8192, 5).set([1, 2, 3, 4, 5]);
    first.close();
    const second = closing(MappedRam.open({ path }));
    expect(second.size).toBe(MiB);
    expect(second.path).toBe(path);
    expect([...second.bytes(8192, 5)]).toEqual([1, 2, 3, 4, 5]);
  });

  test('is one memory for two mappings at the same time', () => {
    const ram = create(MiB);
    const other = closing(MappedRam.open({ path: ram.path ?? '' }));
    ram.bytes(4096, 1)[0] = 42;
    expect(other.bytes(4096, 1)[0]).toBe(42);
  });

  test('outlives a process that is killed in the middle of a store', () => {
    const path = shmPath();
    const code = `
      import { MappedRam } from './src/index.ts';
      const ram = MappedRam.create({ path: process.env.RAM_PATH, size: 1048576 });
      ram.bytes(4096, 3).set([7, 8, 9]);
      process.kill(process.pid, 'SIGKILL');`;
    expect(runChild(code, { RAM_PATH: path })).toMatchObject({ signal: 'SIGKILL', stderr: '' });
    expect([...closing(MappedRam.open({ path })).bytes(4096, 3)]).toEqual([7, 8, 9]);
  });

  test('of 64 GiB costs what is touched, and is addressed to its end in every width', () => {
    const ram = create(64 * GiB);
    expect(ram.size).toBe(64 * GiB);
    expect(ram.allocated()).toBe(0);
    const all = ram.bytes(0, ram.size);
    const { buffer } = all;
    all[5 * GiB] = 7;
    new Uint32Array(buffer)[(60 * GiB) / 4] = 0xdead_beef;
    new BigUint64Array(buffer)[(62 * GiB) / 8] = 123_456_789_012n;
    new Float64Array(buffer)[(64 * GiB - 8) / 8] = 1.5;
    new DataView(buffer).setUint32(61 * GiB, 9, true);
    expect(ram.bytes(5 * GiB, 1)[0]).toBe(7);
    expect([...ram.bytes(60 * GiB, 4)]).toEqual([0xef, 0xbe, 0xad, 0xde]);
    expect(new DataView(buffer).getBigUint64(62 * GiB, true)).toBe(123_456_789_012n);
    expect(new DataView(buffer).getFloat64(64 * GiB - 8, true)).toBe(1.5);
    expect(ram.bytes(61 * GiB, 1)[0]).toBe(9);
    expect(ram.allocated()).toBe(5 * 4096);
    expect(ram.dataPieces()).toEqual(
      [5, 60, 61, 62, 64 - 4096 / GiB].map((at) => ({ pa: at * GiB, length: 4096 })),
    );
  });

  test('has a high descriptor that exec closes', () => {
    const ram = create(8192);
    expect(ram.fd).toBeGreaterThanOrEqual(64);
    expect(closesOnExec(ram.fd)).toBe(true);
  });

  test('is not touched by the garbage collector', () => {
    const ram = create(MiB);
    viewPieces(ram, [{ pa: 8192, length: 4096 }]).bytes[0] = 3; // dropped without release
    ram.bytes(0, MiB)[4096] = 5;
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    for (let i = 0; i < 3; i++) collect();
    expect(ram.bytes(4096, 1)[0]).toBe(5);
    expect(ram.bytes(8192, 1)[0]).toBe(3);
  });
});

describe('ranges', () => {
  const outside: [number, number][] = [
    [MiB, 1],
    [MiB - 1, 2],
    [-1, 1],
    [0, -1],
    [0, MiB + 1],
    [2 ** 52, 4096],
  ];

  test.each(outside)('bytes(%d, %d) of 1 MiB is EFAULT', (pa, length) => {
    const ram = create(MiB);
    expect(codeOfThrown(() => ram.bytes(pa, length))).toBe('EFAULT');
    expect(codeOfThrown(() => viewPieces(ram, [{ pa, length }]))).toBe('EFAULT');
  });

  test('bytes up to the last one, and none at the very end', () => {
    const ram = create(MiB);
    expect(ram.bytes(MiB - 1, 1).length).toBe(1);
    expect(ram.bytes(MiB, 0).length).toBe(0);
  });

  test('discard, reserve, populate and advice take whole pages inside RAM', () => {
    const ram = create(MiB);
    for (const method of ['discard', 'reserve', 'populate', 'adviseHuge'] as const) {
      expect(codeOfThrown(() => ram.system[method](1, 4096))).toBe('EINVAL');
      expect(codeOfThrown(() => ram.system[method](0, 100))).toBe('EINVAL');
      expect(codeOfThrown(() => ram.system[method](MiB, 4096))).toBe('EFAULT');
      expect(codeOfThrown(() => ram.system[method](0, 0))).toBe('nothing thrown');
    }
  });
});

describe('memory', () => {
  test('goes back to the system when it is discarded', () => {
    const ram = create(64 * MiB);
    ram.bytes(0, 16 * MiB).fill(1);
    expect(ram.allocated()).toBe(16 * MiB);
    ram.discard(4 * MiB, 8 * MiB);
    expect(ram.allocated()).toBe(8 * MiB);
    expect(ram.bytes(4 * MiB, 8 * MiB).every((byte) => byte === 0)).toBe(true);
    expect(ram.bytes(4 * MiB - 1, 1)[0]).toBe(1);
    expect(ram.bytes(12 * MiB, 1)[0]).toBe(1);
  });

  test.each(['reserve', 'populate'] as const)('is there after %s, and what was there stays', (method) => {
    const ram = create(64 * MiB);
    ram.bytes(MiB, 1)[0] = 77;
    ram.system[method](0, 2 * MiB);
    expect(ram.allocated()).toBe(2 * MiB);
    expect(ram.bytes(MiB, 1)[0]).toBe(77);
  });

  test.for(['reserve', 'populate'] as const)(
    '%s says ENOSPC where the file system is full',
    (method, context) => {
      const mount = smallTmpfs('1m');
      if ('why' in mount) return context.skip(mount.why);
      const ram = closing(MappedRam.create({ path: join(mount.path, 'x.ram'), size: GiB }));
      expect(codeOfThrown(() => ram.system[method](0, 2 * MiB))).toBe('ENOSPC');
      ram.discard(0, 2 * MiB);
      ram.system[method](0, 512 * 1024);
      expect(ram.allocated()).toBe(512 * 1024);
    },
  );

  test('advice for huge pages is taken or declined, never thrown', () => {
    expect(typeof create(4 * MiB).system.adviseHuge(0, 4 * MiB)).toBe('boolean');
  });
});

describe('a view over pieces', () => {
  test('shows scattered pieces as one live view, in their order', () => {
    const ram = create(64 * GiB);
    const pieces = [
      { pa: 40 * GiB, length: 4096 },
      { pa: 4096, length: 8192 },
      { pa: 12288, length: 4096 },
      { pa: 5 * GiB + 4096, length: 4096 },
    ];
    pieces.forEach(({ pa }, i) => (ram.bytes(pa, 1)[0] = i + 1));
    const view = viewPieces(ram, pieces);
    expect(view.bytes.length).toBe(5 * 4096);
    expect([0, 1, 3, 4].map((page) => view.bytes[page * 4096])).toEqual([1, 2, 3, 4]);
    view.bytes.set([9, 9], 4095); // across a seam
    expect(ram.bytes(40 * GiB + 4095, 1)[0]).toBe(9);
    expect(ram.bytes(4096, 1)[0]).toBe(9);
    ram.bytes(5 * GiB + 4096 + 17, 1)[0] = 55;
    expect(view.bytes[4 * 4096 + 17]).toBe(55);
  });

  test('shows one page in two places', () => {
    const ram = create(MiB);
    const view = viewPieces(ram, [
      { pa: 4096, length: 4096 },
      { pa: 4096, length: 4096 },
    ]);
    view.bytes[0] = 1;
    expect(view.bytes[4096]).toBe(1);
  });

  test('is gone after release, which may be called twice', () => {
    const ram = create(MiB);
    const view = viewPieces(ram, [{ pa: 8192, length: 4096 }]);
    view.bytes[0] = 1;
    view.release();
    view.release();
    expect(view.bytes.length).toBe(0);
    expect(ram.bytes(8192, 1)[0]).toBe(1);
  });

  test.each([
    ['nothing', [], 'EINVAL'],
    ['empty pieces', [{ pa: 0, length: 0 }], 'EINVAL'],
    ['half a page', [{ pa: 0, length: 2048 }], 'EINVAL'],
    ['a piece outside', [{ pa: MiB, length: 4096 }], 'EFAULT'],
  ])('of %s is refused', (_what, pieces, code) => {
    const ram = create(MiB);
    expect(codeOfThrown(() => viewPieces(ram, pieces))).toBe(code);
  });

  test('of more pieces than the process may map is ENOMEM, and leaves no mapping behind', (context) => {
    const limit = hostFacts().maxMapCount ?? Number.POSITIVE_INFINITY;
    if (limit > 300_000) context.skip(`vm.max_map_count is ${limit} here: reaching it takes too much`);
    const code = `
      import * as fs from 'node:fs';
      import { MappedRam } from './src/index.ts';
      const ram = MappedRam.anonymous({ name: 'pieces', size: ${(limit + 10) * 8192} });
      const mappings = () => fs.readFileSync('/proc/self/maps', 'latin1').split('memfd:pieces').length;
      const before = mappings();
      const whole = (pieces) => ({ size: pieces.length * 4096, populate: false });
      const pieces = Array.from({ length: ${limit + 1} }, (_, i) => ({ pa: i * 8192, length: 4096 }));
      let code;
      try { ram.view(pieces, whole(pieces)); } catch (error) { code = error.code; }
      console.log(code, mappings() - before, ram.view(pieces.slice(0, 100), whole(pieces.slice(0, 100))).bytes.length);`;
    expect(runChild(code)).toMatchObject({ stdout: 'ENOMEM 0 409600\n', status: 0 });
  });
});

describe('close', () => {
  test('detaches every view of 8 GiB and is idempotent', () => {
    const ram = create(8 * GiB);
    const all = ram.bytes(0, 8 * GiB);
    const words = new Uint32Array(all.buffer, 4096, 16);
    const gathered = viewPieces(ram, [{ pa: 8192, length: 4096 }]);
    all[6 * GiB] = 1;
    ram.close();
    ram.close();
    gathered.release();
    expect([all.length, words.length, gathered.bytes.length, all.buffer.byteLength]).toEqual([0, 0, 0, 0]);
    expect(all[6 * GiB]).toBeUndefined();
    words[0] = 1; // lands nowhere, and does not crash
    for (const call of [
      () => ram.bytes(0, 1),
      () => ram.discard(0, 4096),
      () => ram.system.reserve(0, 4096),
      () => ram.system.populate(0, 4096),
      () => viewPieces(ram, [{ pa: 0, length: 4096 }]),
      () => ram.allocated(),
      () => ram.dataPieces(),
    ]) {
      expect(codeOfThrown(call)).toBe('EBADF');
    }
  });

  test('leaves no descriptor and no mapping', () => {
    const path = shmPath();
    const ram = MappedRam.create({ path, size: MiB });
    const { fd } = ram;
    viewPieces(ram, [{ pa: 8192, length: 4096 }]);
    const { ino } = fs.statSync(path);
    const mappings = (): string[] => {
      const lines = fs.readFileSync('/proc/self/maps', 'latin1').split('\n');
      return lines.filter((line) => line.split(/ +/)[4] === String(ino) && line.includes('/dev/shm/'));
    };
    expect(mappings()).not.toEqual([]);
    ram.close();
    expect(fs.existsSync(`/proc/self/fd/${fd}`)).toBe(false);
    expect(mappings()).toEqual([]);
  });
});

describe('creating refuses', () => {
  test.each([
    ['a size that is no multiple of a page', { size: 10_000 }, 'EINVAL'],
    ['one page', { size: 4096 }, 'EINVAL'],
    ['a size beyond what the tables hold', { size: 2 ** 44 + 4096 }, 'EINVAL'],
    ['a size beyond what a file can have', { size: 2 ** 53 - 4096 * 2 }, 'EINVAL'],
    ['a mode that lets others write', { size: MiB, mode: 0o620 }, 'EINVAL'],
  ])('%s', (_what, options, code) => {
    const path = shmPath();
    expect(codeOfThrown(() => MappedRam.create({ path, ...options }))).toBe(code);
    expect(fs.existsSync(path)).toBe(false);
  });

  test('a name that is taken, and a directory that is not there', () => {
    const { path } = create(MiB);
    expect(codeOfThrown(() => MappedRam.create({ path: path ?? '', size: MiB }))).toBe('EEXIST');
    expect(codeOfThrown(() => MappedRam.create({ path: `${path ?? ''}/x`, size: MiB }))).toBe('ENOTDIR');
    expect(codeOfThrown(() => MappedRam.create({ path: '/dev/shm/liveupdate-none/x', size: MiB }))).toBe(
      'ENOENT',
    );
  });
});

describe('opening refuses', () => {
  function file(size = MiB): string {
    const path = shmPath();
    fs.writeFileSync(path, '', { mode: 0o600 });
    fs.truncateSync(path, size);
    return path;
  }

  test('nothing, a symbolic link, a directory, a pipe', () => {
    const link = shmPath();
    fs.symlinkSync(file(), link);
    const directory = shmPath();
    fs.mkdirSync(directory);
    const fifo = shmPath();
    execFileSync('mkfifo', ['-m', '600', fifo]);
    expect(codeOfThrown(() => MappedRam.open({ path: shmPath() }))).toBe('ENOENT');
    expect(codeOfThrown(() => MappedRam.open({ path: link }))).toBe('ELOOP');
    expect(codeOfThrown(() => MappedRam.open({ path: directory }))).toBe('EISDIR');
    expect(codeOfThrown(() => MappedRam.open({ path: fifo }))).toBe('EINVAL');
  });

  test.each([0, 4096, 10_000])('a file of %d bytes', (size) => {
    expect(codeOfThrown(() => MappedRam.open({ path: file(size) }))).toBe('EINVAL');
  });

  test.each([0o620, 0o602, 0o666])('a file of mode %o', (mode) => {
    const path = file();
    fs.chmodSync(path, mode);
    expect(codeOfThrown(() => MappedRam.open({ path }))).toBe('EACCES');
    fs.chmodSync(path, 0o644);
    expect(closing(MappedRam.open({ path })).size).toBe(MiB);
  });

  test("another user's file", (context) => {
    if (!isRoot) context.skip('only root can give a file away');
    const path = file();
    fs.chownSync(path, 12_345, 12_345);
    expect(codeOfThrown(() => MappedRam.open({ path }))).toBe('EPERM');
  });

  test('without leaving a descriptor open', () => {
    const path = file(10_000);
    const before = fs.readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 5; i++) codeOfThrown(() => MappedRam.open({ path }));
    expect(fs.readdirSync('/proc/self/fd').length).toBe(before);
  });
});

describe('anonymous RAM', () => {
  test('has a name only in /proc, and a size that nobody changes', () => {
    const ram = closing(MappedRam.anonymous({ name: 'liveupdate-test', size: 6 * GiB }));
    expect(fs.readlinkSync(`/proc/self/fd/${ram.fd}`)).toBe('/memfd:liveupdate-test (deleted)');
    expect(ram.path).toBeUndefined();
    ram.bytes(5 * GiB, 1)[0] = 1;
    expect(ram.allocated()).toBe(4096);
    ram.discard(5 * GiB, 4096);
    expect(ram.allocated()).toBe(0);
    expect(getSeals(ram.fd)).toBe(1 | 2 | 4);
    expect(() => {
      fs.ftruncateSync(ram.fd, 4096);
    }).toThrow(/EPERM/);
  });

  test('is the same memory through another descriptor of it', () => {
    const ram = closing(MappedRam.anonymous({ name: 'liveupdate-test', size: MiB }));
    const other = closing(MappedRam.fromFd(duplicateFrom(ram.fd, 0)));
    expect(other.fd).toBeGreaterThanOrEqual(64);
    other.bytes(4096, 1)[0] = 5;
    expect(ram.bytes(4096, 1)[0]).toBe(5);
  });

  test('refuses a name that is too long and a size that is none', () => {
    expect(codeOfThrown(() => MappedRam.anonymous({ name: 'x'.repeat(250), size: MiB }))).toBe('EINVAL');
    expect(codeOfThrown(() => MappedRam.anonymous({ name: 'x', size: 4096 }))).toBe('EINVAL');
  });

  test('of huge pages discards parts of them too', (context) => {
    const { free = 0, pageSize = 2 * MiB } = hostFacts().hugetlb;
    if (free < 4) context.skip(`the pool has ${free} huge pages, this needs 4: sysctl vm.nr_hugepages=4`);
    const ram = closing(MappedRam.anonymous({ name: 'liveupdate-test', size: 4 * pageSize, hugetlb: true }));
    ram.bytes(0, 3 * pageSize).fill(6);
    ram.discard(4096, 2 * pageSize);
    expect(ram.allocated()).toBe(2 * pageSize);
    expect([0, 4096, pageSize, 2 * pageSize, 2 * pageSize + 4096].map((pa) => ram.bytes(pa, 1)[0])).toEqual([
      6, 0, 0, 0, 6,
    ]);
    const view = viewPieces(ram, [
      { pa: 2 * pageSize, length: pageSize },
      { pa: 0, length: pageSize },
    ]);
    expect([view.bytes[4096], view.bytes[pageSize]]).toEqual([6, 6]);
    expect(codeOfThrown(() => viewPieces(ram, [{ pa: 4096, length: 4096 }]))).toBe('EINVAL');
  });
});

describe('RAM on a descriptor', () => {
  test('takes the descriptor over and moves a low one up', () => {
    const { path } = create(MiB);
    const low = fs.openSync(path ?? '', 'r+');
    const ram = closing(MappedRam.fromFd(low));
    expect(ram.fd).toBeGreaterThanOrEqual(64);
    expect(ram.path).toBeUndefined();
  });

  test('refuses one that is closed, read-only or no file, and leaves it open', () => {
    const { path } = create(MiB);
    const readOnly = fs.openSync(path ?? '', 'r');
    const zero = fs.openSync('/dev/zero', 'r+');
    expect(codeOfThrown(() => MappedRam.fromFd(9999))).toBe('EBADF');
    expect(codeOfThrown(() => MappedRam.fromFd(readOnly))).toBe('EACCES');
    expect(codeOfThrown(() => MappedRam.fromFd(zero))).toBe('EINVAL');
    fs.closeSync(readOnly);
    fs.closeSync(zero);
  });
});

test('bytes are copied in by a system call, where they belong and nowhere else', () => {
  using ram = MappedRam.anonymous({ name: 'liveupdate-test', size: 64 * 4096 });
  const bytes = Uint8Array.from({ length: 10_000 }, (_, i) => 1 + (i % 250));
  ram.system.write(3 * 4096 + 5, bytes);
  expect(ram.allocated()).toBe(3 * 4096);
  expect(ram.bytes(3 * 4096 + 5, bytes.length)).toEqual(bytes);
  expect([ram.bytes(3 * 4096 + 4, 1)[0], ram.bytes(3 * 4096 + 10_005, 1)[0]]).toEqual([0, 0]);
  ram.system.write(0, new Uint8Array(0));
  expect(() => {
    ram.system.write(64 * 4096 - 5, new Uint8Array(6));
  }).toThrow('EFAULT');
  ram.close();
  expect(() => {
    ram.system.write(0, bytes);
  }).toThrow('EBADF');
});

test('touching more than a full file system has is a SIGBUS: what reserve is for', (context) => {
  const mount = smallTmpfs('1m');
  if ('why' in mount) return context.skip(mount.why);
  const code = `
    import { MappedRam } from './src/index.ts';
    const ram = MappedRam.create({ path: process.env.RAM_PATH, size: 4194304 });
    ram.bytes(0, ram.size).fill(1);`;
  expect(runChild(code, { RAM_PATH: join(mount.path, 'x.ram') }).signal).toBe('SIGBUS');
});
