import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { hostFacts, shmSpace } from './host.ts';

describe('a made-up host', () => {
  let root: string;

  beforeEach(() => {
    root = fs.mkdtempSync(join(tmpdir(), 'liveupdate-host-'));
  });

  afterEach(() => {
    fs.rmSync(root, { recursive: true });
  });

  function put(path: string, text: string): void {
    fs.mkdirSync(dirname(join(root, path)), { recursive: true });
    fs.writeFileSync(join(root, path), text);
  }

  test('with nothing in it has no facts, and no error', () => {
    const facts = hostFacts({ root });
    expect(facts.kernel).toBeUndefined();
    expect(facts.memory).toEqual({ total: undefined, available: undefined });
    expect(facts.hugetlb).toEqual({ total: undefined, free: undefined, pageSize: undefined });
    expect(facts.hugePages).toEqual({ enabled: undefined, shmemEnabled: undefined });
    expect([facts.shm, facts.overcommit, facts.maxMapCount, facts.cgroupMemoryMax]).toEqual(
      Array(4).fill(undefined),
    );
    expect(facts.liveupdate).toBe('ENOENT');
  });

  test('is read', () => {
    put('proc/sys/kernel/osrelease', '6.19.0-rc1\n');
    put(
      'proc/meminfo',
      'MemTotal:       2048 kB\nMemAvailable:  1024 kB\nHugePages_Total:  4\nHugePages_Free: 3\nHugepagesize: 2048 kB\n',
    );
    put('proc/sys/vm/overcommit_memory', '2\n');
    put('proc/sys/vm/max_map_count', '1000\n');
    put('sys/kernel/mm/transparent_hugepage/enabled', 'always [madvise] never\n');
    put('sys/kernel/mm/transparent_hugepage/shmem_enabled', 'always within_size [advise] never deny force\n');
    put(
      'proc/self/mountinfo',
      '25 24 0:23 / /dev/shm rw - tmpfs old rw\n30 25 0:27 / /dev/shm rw,relatime shared:4 - tmpfs tmpfs rw,size=1024k,huge=advise\n',
    );
    put('dev/shm/x', '');
    put('dev/liveupdate', '');
    const facts = hostFacts({ root });
    expect(facts).toMatchObject({
      kernel: '6.19.0-rc1',
      memory: { total: 2_097_152, available: 1_048_576 },
      hugetlb: { total: 4, free: 3, pageSize: 2_097_152 },
      hugePages: { enabled: 'madvise', shmemEnabled: 'advise' },
      overcommit: 'never',
      maxMapCount: 1000,
      shm: { path: join(root, 'dev/shm'), type: 'tmpfs', huge: 'advise' },
      liveupdate: 'open',
    });
    expect(facts.node).toEqual({
      version: process.versions.node,
      path: process.execPath,
      execve: 'execve' in process,
    });
  });

  test.each([
    ['the least limit on the way up', { 'a/b': 'max', a: '5000', '': 'max' }, 5000],
    ['the innermost', { 'a/b': '100', a: '5000' }, 100],
    ['none', { 'a/b': 'max', a: 'max' }, undefined],
  ])('has a memory group: %s', (_what, limits, expected) => {
    put('proc/self/cgroup', '1:name=x:/ignored\n0::/a/b\n');
    for (const [group, limit] of Object.entries(limits))
      put(`sys/fs/cgroup/${group}/memory.max`, `${limit}\n`);
    expect(hostFacts({ root }).cgroupMemoryMax).toBe(expected);
  });

  test('has a group at the root', () => {
    put('proc/self/cgroup', '0::/\n');
    put('sys/fs/cgroup/memory.max', '4096\n');
    expect(hostFacts({ root }).cgroupMemoryMax).toBe(4096);
  });
});

test('this host is Linux, with memory and /dev/shm', () => {
  const facts = hostFacts();
  expect(facts.platform).toBe('linux');
  expect(facts.kernel).toMatch(/^\d+\.\d+/);
  expect(facts.memory.total).toBeGreaterThan(facts.memory.available ?? Number.NaN);
  expect(facts.maxMapCount).toBeGreaterThan(0);
});

test('the room of a file system is told, of a missing one not', () => {
  const { size, free } = shmSpace('/dev/shm');
  expect(size).toBeGreaterThan(0);
  expect(free).toBeLessThanOrEqual(size);
  expect(() => shmSpace('/nonexistent')).toThrow(/ENOENT/);
});
