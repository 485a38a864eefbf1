/** What tools read of a handover that is damaged: each damage is told, and the rest is there. */
import { PAGE_SIZE, type KernelError } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { overlayRam, type Ram } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { readHandover, readKhoTree, type Handover } from './read-handover.ts';
import { openLinux } from './test-linux.ts';
import { withCode } from './test-kho.ts';

const { image, entry } = openLinux();
const whole = readHandover(image, entry);
const count = ({ preservedByOrder }: Handover): number =>
  [...preservedByOrder.values()].reduce((sum, n) => sum + n, 0);

function read(ram: Ram, changed = {}): { handover: Handover; told: string[] } {
  const told: string[] = [];
  const handover = readHandover(ram, { ...entry, ...changed }, ({ message }: KernelError) =>
    told.push(message),
  );
  return { handover, told };
}

test('one that is whole is read as ever', () => {
  const { handover, told } = read(image);
  expect(told).toEqual([]);
  expect(handover.preservedByOrder).toEqual(whole.preservedByOrder);
  expect(handover.scratch).toEqual(whole.scratch);
});

test('without scratch areas: not known, or damaged', () => {
  const unknown = read(image, { scratchAddr: 0, scratchSize: 0 });
  expect([unknown.told, unknown.handover.scratch, count(unknown.handover)]).toEqual([[], [], 906]);
  const damaged = read(image, { scratchAddr: 0x1000 });
  expect(damaged.told).toHaveLength(0); // zeros: areas of no size
  const outside = read(image, { scratchAddr: 2 ** 40 });
  expect([outside.told.length, count(outside.handover)]).toEqual([1, 906]);
});

test('a node of the map that leads outside, to itself, or nowhere', () => {
  for (const [address, what] of [
    [2 ** 45, 'a node at 0x200000000000'],
    [whole.preservedMap, 'linked twice'],
    [4097, 'a node at 0x1001'],
  ] as const) {
    const ram = overlayRam(image);
    const bytes = ram.bytes(whole.preservedMap, PAGE_SIZE);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(8 * 511, BigInt(address), true);
    const { handover, told } = read(ram);
    expect(told).toEqual([expect.stringContaining(what)]);
    expect(count(handover)).toBe(906);
    expect(() => readHandover(ram, entry)).toThrow(withCode('EINVAL'));
  }
});

test('a map of noise: told fifty times, and then no more', () => {
  const ram = overlayRam(image);
  ram.bytes(whole.preservedMap, PAGE_SIZE).fill(0x77);
  const { told } = read(ram);
  expect(told.length).toBeLessThanOrEqual(55);
  expect(told.some((what) => what.includes('in more places'))).toBe(true);
});

test('a tree of another version is named, and shown', () => {
  const ram = overlayRam(image);
  const page = Buffer.from(ram.bytes(entry.fdtAddr, PAGE_SIZE).buffer, entry.fdtAddr % 2 ** 22, PAGE_SIZE);
  page.write('kho-v9', page.indexOf('kho-v4'));
  expect(readKhoTree(ram, entry.fdtAddr).compatible).toBe('kho-v9');
  expect(() => read(ram)).toThrow(/'kho-v9', this reads 'kho-v4'/);
});

test('bytes overwritten anywhere in it end in an answer or a refusal', () => {
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const pages = [
    ...whole.structure,
    entry.fdtAddr / PAGE_SIZE,
    ...[...whole.subtrees.values()].map(({ pa }) => pa / PAGE_SIZE),
  ];
  for (let round = 0; round < 200; round++) {
    const ram = overlayRam(image);
    for (let i = 0; i <= random(3); i++) {
      const page = ram.bytes(pages[random(pages.length)] * PAGE_SIZE, PAGE_SIZE);
      page.fill([0, 0xff, random(256)][random(3)], random(PAGE_SIZE), random(PAGE_SIZE));
    }
    try {
      expect(read(ram).told.length).toBeLessThan(200);
    } catch (error) {
      expect(error).toHaveProperty('code', expect.stringMatching(/^E(INVAL|FAULT|OVERFLOW)$/));
    }
  }
});
