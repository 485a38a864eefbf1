import { viewSpace, type HostFacts } from '@liveupdate/linux';
import { describe, expect, test } from 'vitest';
import { checkHost, type CheckStatus, type Report, type Tried } from './doctor-checks.ts';
import { reportText } from './doctor.ts';
import { liveupdate } from './test-cli.ts';

const GIB = 2 ** 30;

const GOOD: HostFacts = {
  platform: 'linux',
  arch: 'x64',
  kernel: '6.12.0',
  node: { version: '24.0.0', path: '/usr/bin/node', execve: true },
  memory: { total: 16 * GIB, available: 12 * GIB },
  cgroupMemoryMax: undefined,
  shm: { path: '/dev/shm', type: 'tmpfs', huge: 'within_size', size: 8 * GIB, free: 8 * GIB },
  hugePages: { enabled: 'madvise', shmemEnabled: 'advise' },
  hugetlb: { total: 512, free: 512, pageSize: 2 ** 21 },
  overcommit: 'heuristic',
  maxMapCount: 1_048_576,
  liveupdate: 'open',
};

const ALL_WORKED: Tried = { mappingFailure: undefined, hugePage: true, viewMappings: 60_530 };

test('a good host: all ok, nothing to do', () => {
  const report = checkHost(GOOD, ALL_WORKED);
  expect(report.canRun).toBe(true);
  for (const check of report.checks) expect(check).toMatchObject({ status: 'ok', advice: '' });
  expect(report.largestDemo).toBe(7999 * 2 ** 20); // (8 GiB - 32 MiB - 64 KiB) / 1.02
});

describe.each<readonly [string, Partial<HostFacts>, string, CheckStatus, boolean]>([
  ['another system', { platform: 'darwin' }, 'platform', 'missing', false],
  ['another processor', { arch: 'riscv64' }, 'platform', 'missing', false],
  ['an old Node', { node: { version: '20.12.0', path: '', execve: false } }, 'node', 'missing', false],
  ['no /dev/shm', { shm: undefined }, 'shm', 'missing', false],
  [
    'a container of Docker',
    { shm: { path: '/dev/shm', type: 'tmpfs', huge: 'within_size', size: 2 ** 26, free: 2 ** 25 } },
    'shm',
    'missing',
    false,
  ],
  ['a limit of the control group', { cgroupMemoryMax: 2 * GIB }, 'memory', 'note', true],
  ['no /proc', { memory: { total: undefined, available: undefined } }, 'memory', 'note', true],
  ['an empty pool', { hugetlb: { total: 0, free: 0, pageSize: 2 ** 21 } }, 'hugetlb', 'note', true],
  ['few mappings', { maxMapCount: 1000 }, 'mappings', 'note', true],
  ['strict accounting', { overcommit: 'never' }, 'overcommit', 'note', true],
  ['no device', { liveupdate: 'ENOENT' }, 'device', 'note', true],
  ['a device of root', { liveupdate: 'EACCES' }, 'device', 'note', true],
  ['a device in use', { liveupdate: 'EBUSY' }, 'device', 'note', true],
])('%s', (_, facts, id, status, canRun) => {
  const report = checkHost({ ...GOOD, ...facts }, ALL_WORKED);

  test('is told, with what to do', () => {
    const others = report.checks.filter((check) => check.status !== 'ok');
    expect(others.map((check) => [check.id, check.status])).toEqual([[id, status]]);
    expect(others[0].advice).not.toBe('');
    expect(report.canRun).toBe(canRun);
  });

  test('stands in the text', () => {
    expect(reportText(report, false)).toContain(`${status.padEnd(7)}  `);
    expect(reportText(report, false)).toContain(canRun ? 'can run here' : 'cannot run here');
  });
});

test.each([GOOD, { ...GOOD, maxMapCount: 1000 }])('how many mappings are for views is told', (facts) => {
  const { checks } = checkHost(facts, ALL_WORKED);
  expect(checks.find(({ id }) => id === 'mappings')?.finding).toContain('its views 60530 of them');
});

test('memory that cannot be mapped is told with its reason', () => {
  const { checks, canRun } = checkHost(GOOD, {
    mappingFailure: 'EOPNOTSUPP: koffi could not be loaded',
    hugePage: false,
    viewMappings: 60_530,
  });
  expect(canRun).toBe(false);
  expect(checks.find(({ id }) => id === 'mapping')?.finding).toContain('koffi could not be loaded');
});

test('a system that gives no huge pages can do everything, and is told so', () => {
  const { checks, canRun } = checkHost(GOOD, { ...ALL_WORKED, hugePage: false });
  expect(canRun).toBe(true);
  const others = checks.filter(({ status }) => status !== 'ok');
  expect(others).toMatchObject([{ id: 'huge-pages', status: 'note' }]);
  expect(others[0].finding).toContain('Linux 6.12.0');
});

test('the largest demo is bounded by memory and control group too', () => {
  expect(checkHost({ ...GOOD, cgroupMemoryMax: GIB }, ALL_WORKED).largestDemo).toBeLessThan(GIB);
  expect(checkHost({ ...GOOD, memory: { total: GIB, available: 2 ** 28 } }, ALL_WORKED).largestDemo).toBe(0);
});

test('here: the text and the JSON say the same', () => {
  const text = liveupdate('doctor');
  const json = liveupdate('doctor', '--json');
  const report = JSON.parse(json.stdout) as Report;
  expect(text.status).toBe(report.canRun ? 0 : 1);
  expect(json.status).toBe(text.status);
  expect(text.stderr + json.stderr).toBe('');
  expect(text.stdout).toContain(`its views ${viewSpace().mostMappings} of them`);
  expect(text.stdout).not.toContain('\x1b');
  expect(text.stdout.match(/^(?:ok|note|missing) +\S/gm)).toHaveLength(report.checks.length);
});

test('of an old Node.js only what that could try is told, and no demo', () => {
  const old = { ...GOOD, node: { version: '20.12.0', path: '', execve: false } };
  const report = checkHost(old, { ...ALL_WORKED, mappingFailure: 'not tried' });
  const ids = report.checks.filter(({ status }) => status !== 'ok').map(({ id }) => id);
  expect([ids, report.canRun, report.largestDemo]).toEqual([['node'], false, 0]);
  const text = reportText(report, false);
  expect(text).toMatch(/Live updates cannot run here: see what is missing\.\n$/);
  expect(text).not.toMatch(/koffi|huge pages for RAM|demo/);
});
