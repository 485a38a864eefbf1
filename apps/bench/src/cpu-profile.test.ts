import { expect, test } from 'vitest';
import { hottest, selfTimes } from './cpu-profile.ts';
import { parseReport } from './perf.ts';

test('time to self is summed by function, with the file that it stands in', () => {
  const node = (id: number, functionName: string, url: string, lineNumber = -1) => ({
    id,
    callFrame: { functionName, scriptId: '0', url, lineNumber, columnNumber: 0 },
  });
  const profile = {
    nodes: [
      node(1, '(root)', ''),
      node(2, '(idle)', ''),
      node(3, 'fill', 'file:///x/packages/shmem/src/fill.ts', 27),
      node(4, 'fill', 'file:///x/packages/shmem/src/fill.ts', 27),
      node(5, '', 'node:fs', 9),
      node(6, 'post', 'node:inspector', 114),
    ],
    startTime: 0,
    endTime: 0,
    samples: [2, 3, 4, 5, 6, 3],
    timeDeltas: [1000, 10, 20, 60, 500, -5],
  };
  const times = selfTimes(profile);
  expect(hottest(times, 5)).toEqual([
    { what: '(anonymous) node:fs:10', share: (60 / 90) * 100 },
    { what: 'fill shmem/fill.ts:28', share: (30 / 90) * 100 },
  ]);
  expect(hottest(times, 1)).toHaveLength(1);
});

test("perf's report: the kernel by function, compiled JavaScript as one", () => {
  const report = `
# Overhead;Shared Object ;Symbol
 23.09% ;[kernel.kallsyms]   ;[k] exc_page_fault
 8.27%  ;libc.so.6           ;[.] __memset_avx2
 30.00% ;[JIT] tid 12 ;[.] 0x00007f0000001234
 10.00% ;anon_inode ;[.] 0x00007f0000005678
 0.50% ;node ;[.] small
`;
  expect(parseReport(report, 10)).toEqual([
    { what: 'compiled JavaScript', share: 40 },
    { what: 'exc_page_fault (kernel)', share: 23.09 },
    { what: '__memset_avx2 (libc.so.6)', share: 8.27 },
  ]);
});
