import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { boot, readHandover } from '@liveupdate/kho';
import { beforeAll, describe, expect, test } from 'vitest';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import { readLuo } from './read-luo.ts';
import { coldKernel, counterHandler, outcome, snapshot } from './test-kernel.ts';
import { copyOf, handedOver, readWord, writeWord, type Original, type Records } from './test-records.ts';

let original: Original;
beforeAll(async () => {
  original = await handedOver();
});

test('what was handed over is read as it was written', () => {
  const { ram, handover, pa } = copyOf(original);
  const records = readLuo(ram, handover);
  expect(records).toMatchObject({
    liveupdateNumber: 1n,
    flbs: [],
    sessions: [
      { name: 'a', files: [{ token: 1n, compatible: 'counter-v1', data: BigInt(pa.data) }, { token: 2n }] },
      { name: 'b', files: [{ token: 3n }] },
    ],
  });
  expect(records?.pages.toSorted((x, y) => x - y)).toEqual(
    [pa.luo, pa.sessions, pa.a, pa.b].sort((x, y) => x - y),
  );
});

test('a kernel without LUO left nothing', () => {
  const { ram, handover } = copyOf(original);
  expect(readLuo(ram, { ...handover, subtrees: new Map() })).toBeUndefined();
});

const SESSION = 16; // the first entry of a block
const FILE = 16;
const ONES = 2n ** 64n - 1n;

/** One field each, what is written there, and what readLuo says. */
const damage: [string, (records: Records) => void, string][] = [
  [
    'compatible: other',
    ({ ram, pa }) => ram.bytes(pa.luo, 8).set([0x6c, 0x75, 0x6f, 0x2d, 0x76, 0x36]),
    'EINVAL',
  ],
  ['compatible: no end', ({ ram, pa }) => ram.bytes(pa.luo, 8).fill(0x6c), 'EINVAL'],
  ['number: anything', ({ ram, pa }) => writeWord(ram, pa.luo + 8, ONES), 'ok'],
  ...pointers('sessions', ({ luo }) => luo + 16),
  ...pointers('flbs', ({ luo }) => luo + 24),
  ['sessions: none', ({ ram, pa }) => writeWord(ram, pa.luo + 16, 0), 'ok'],
  ...counts('sessions', ({ sessions }) => sessions, 51),
  ['next block of sessions: itself', ({ ram, pa }) => writeWord(ram, pa.sessions, pa.sessions), 'EINVAL'],
  ['next block of sessions: a block of files', ({ ram, pa }) => writeWord(ram, pa.sessions, pa.a), 'EINVAL'],
  ...pointers('next block of sessions', ({ sessions }) => sessions),
  ['session name: empty', ({ ram, pa }) => ram.bytes(pa.sessions + SESSION, 64).fill(0), 'EINVAL'],
  ['session name: no end', ({ ram, pa }) => ram.bytes(pa.sessions + SESSION, 64).fill(0x61), 'EINVAL'],
  ['session name: twice', ({ ram, pa }) => ram.bytes(pa.sessions + SESSION, 1).fill(0x62), 'EINVAL'],
  ...pointers('files', ({ sessions }) => sessions + SESSION + 64),
  ['files: none, but counted', ({ ram, pa }) => writeWord(ram, pa.sessions + SESSION + 64, 0), 'EINVAL'],
  [
    'files: those of another session',
    ({ ram, pa }) => writeWord(ram, pa.sessions + SESSION + 64, pa.b),
    'EINVAL',
  ],
  ['file count: 0', ({ ram, pa }) => writeWord(ram, pa.sessions + SESSION + 72, 0), 'EINVAL'],
  ['file count: 3', ({ ram, pa }) => writeWord(ram, pa.sessions + SESSION + 72, 3), 'EINVAL'],
  ['file count: all ones', ({ ram, pa }) => writeWord(ram, pa.sessions + SESSION + 72, ONES), 'EOVERFLOW'],
  ...counts('files', ({ a }) => a, 63),
  ...pointers('next block of files', ({ a }) => a),
  ['handler: empty', ({ ram, pa }) => ram.bytes(pa.a + FILE, 48).fill(0), 'EINVAL'],
  ['handler: no end', ({ ram, pa }) => ram.bytes(pa.a + FILE, 48).fill(0x61), 'EINVAL'],
  ['data: anything', ({ ram, pa }) => writeWord(ram, pa.a + FILE + 48, ONES), 'ok'],
  ['token: twice', ({ ram, pa }) => writeWord(ram, pa.a + FILE + 56, 2), 'EINVAL'],
  ['token: any other', ({ ram, pa }) => writeWord(ram, pa.a + FILE + 56, ONES), 'ok'],
];

/** What a pointer may be damaged to, wherever it stands. */
function pointers(name: string, at: (pa: Records['pa']) => number): typeof damage {
  const free = 2 ** 20 - PAGE_SIZE;
  const values: [string, (records: Records) => bigint | number, string][] = [
    ['nobody’s page', () => free, 'EINVAL'],
    ['outside RAM', () => 2 ** 40, 'EINVAL'],
    ['page 0 and a half', () => 2048, 'EINVAL'],
    ['not the start of a page', ({ pa }) => pa.luo + 8, 'EINVAL'],
    ['a page of another record', ({ pa }) => pa.luo, 'EINVAL'],
    ['beyond 2^53', () => 2n ** 60n, 'EOVERFLOW'],
    ['all ones', () => ONES, 'EOVERFLOW'],
  ];
  return values.map(([what, value, code]) => [
    `${name}: ${what}`,
    (records) => writeWord(records.ram, at(records.pa), value(records)),
    code,
  ]);
}

function counts(name: string, at: (pa: Records['pa']) => number, capacity: number): typeof damage {
  return ([0, capacity + 1, 2n ** 33n, ONES] as const).map((value) => [
    `entries in a block of ${name}: ${value}`,
    ({ ram, pa }) => writeWord(ram, at(pa) + 8, value),
    value === ONES ? 'EOVERFLOW' : 'EINVAL',
  ]);
}

describe('damage to one field', () => {
  test.each(damage)('%s', async (_, harm, code) => {
    const records = copyOf(original);
    harm(records);
    expect(await outcome(() => readLuo(records.ram, records.handover))).toBe(code);
    if (code === 'ok') return;
    // The kernel that boots on it shows nothing of it, changes nothing, and works on.
    const kho = boot(records.ram, original.entry, { freeMemory: 'keep' });
    const luo = new LiveUpdateOrchestrator({ kho, handlers: [counterHandler(kho)] });
    const before = snapshot(kho);
    expect(await outcome(() => luo.incomingSessions)).toBe('EIO');
    expect(await outcome(() => luo.retrieveSession('b'))).toBe('EIO');
    expect(snapshot(kho)).toBe(before);
    luo.createSession('a');
    kho.pages.assertConsistent();
  });

  test('a subtree that is too small', async () => {
    const { ram, handover, pa } = copyOf(original);
    const subtrees = new Map([['LUO', { name: 'LUO', pa: pa.luo, size: 31 }]]);
    expect(await outcome(() => readLuo(ram, { ...handover, subtrees }))).toBe('EINVAL');
  });
});

describe('the FLB record', () => {
  /**
   * Writes a record of `count` FLBs, of which those in `names` are filled in, and reads the
   * handover with it.
   */
  function withFlbs(count: bigint | number, names: readonly Uint8Array[]) {
    const { luo, kho } = coldKernel(2 ** 20);
    const block = kho.allocPreserve(PAGE_SIZE);
    writeWord(kho.ram, block.pa, 1);
    writeWord(kho.ram, block.pa + 8, count);
    for (const [i, name] of names.entries()) {
      const at = block.pa + 16 + i * 64;
      kho.ram.bytes(at, 48).set(name);
      writeWord(kho.ram, at + 48, 0xfeed_0000 + i);
      writeWord(kho.ram, at + 56, i + 1);
    }
    return { luo, kho, block };
  }
  const text = (name: string): Uint8Array => new TextEncoder().encode(name);

  const cases: [string, bigint | number, Uint8Array[], string][] = [
    ['none', 0, [], 'ok'],
    ['two', 2, [text('iommu'), text('vfio')], 'ok'],
    ['63', 63, Array.from({ length: 63 }, (_, i) => text(`flb ${i}`)), 'ok'],
    ['64', 64, Array.from({ length: 63 }, (_, i) => text(`flb ${i}`)), 'EINVAL'],
    ['too many', 2n ** 64n - 1n, [], 'EOVERFLOW'],
    ['one without a name', 1, [], 'EINVAL'],
    ['a name without an end', 1, [new Uint8Array(48).fill(0x61)], 'EINVAL'],
  ];
  test.each(cases)('%s', async (_, count, names, code) => {
    const { luo, kho, block } = withFlbs(count, names);
    await luo.reboot();
    const handover = readHandover(kho.ram, kho.entry);
    const luoPa = handover.subtrees.get('LUO')?.pa ?? 0;
    writeWord(kho.ram, luoPa + 24, block.pa);
    const result = await outcome(() => readLuo(kho.ram, handover));
    expect(result).toBe(code);
    if (code !== 'ok') return;
    expect(readLuo(kho.ram, handover)?.flbs.map(({ name, data, count: uses }) => [name, data, uses])).toEqual(
      names.map((name, i) => [new TextDecoder().decode(name), BigInt(0xfeed_0000 + i), BigInt(i + 1)]),
    );
    expect(readWord(kho.ram, luoPa + 24)).toBe(block.pa);
  });
});

test('an FLB record that does not begin a page is refused, whatever stands there', async () => {
  const { luo, kho } = coldKernel(2 ** 20);
  const block = kho.allocPreserve(PAGE_SIZE); // zeros: a record of no FLBs, wherever one begins to read
  await luo.reboot();
  const handover = readHandover(kho.ram, kho.entry);
  const flbs = (handover.subtrees.get('LUO')?.pa ?? 0) + 24;
  writeWord(kho.ram, flbs, block.pa);
  expect(readLuo(kho.ram, handover)?.flbs).toEqual([]);
  writeWord(kho.ram, flbs, block.pa + 64);
  expect(await outcome(() => readLuo(kho.ram, handover))).toBe('EINVAL');
});

test('errors of damaged records are KernelErrors that say what is wrong', () => {
  const { ram, handover, pa } = copyOf(original);
  writeWord(ram, pa.sessions + 8, 0);
  expect(() => readLuo(ram, handover)).toThrow(KernelError);
});
