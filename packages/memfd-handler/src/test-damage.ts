/**
 * Damage to the pages of a handover, of every kind that tears a structure apart, and how it is
 * taken back.
 */
import { PAGE_SIZE, type PhysAddr, type Prng } from '@liveupdate/base';
import type { Ram } from '@liveupdate/mm';

/** What can be done to a page. `other` is another page of the handover. */
type Harm = (page: DataView, other: DataView, random: Prng, pages: readonly PhysAddr[]) => void;

const bytesOf = ({ buffer, byteOffset, byteLength }: DataView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** A word of 8 bytes, more often one that holds something. */
function anyWord(page: DataView, random: Prng): number {
  const start = random.below(3) === 0 ? random.below(16) : random.below(PAGE_SIZE / 8);
  if (random.below(4) === 0) return start * 8;
  for (let i = 0; i < PAGE_SIZE / 8; i++) {
    const at = ((start + i) % (PAGE_SIZE / 8)) * 8;
    if (page.getUint32(at, true) !== 0 || page.getUint32(at + 4, true) !== 0) return at;
  }
  return start * 8;
}

const SIZES = [0n, 1n, 2n, 63n, 64n, 255n, 511n, 512n, 4095n, 4096n, 4097n, 10_000n, 2n ** 20n, 2n ** 31n];
const EDGES = [
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 40n,
  2n ** 52n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const STEPS = [1n, -1n, 8n, -8n, 16n, 4096n, -4096n, 2n ** 21n, 1n << 52n];

const one = <T>(list: readonly T[], random: Prng): T => list[random.below(list.length)];

const HARMS: readonly Harm[] = [
  // A byte, or a bit of it.
  (page, _, random) => {
    page.setUint8(anyWord(page, random) + random.below(8), random.below(256));
  },
  (page, _, random) => {
    const at = anyWord(page, random) + random.below(8);
    page.setUint8(at, page.getUint8(at) ^ (1 << random.below(8)));
  },
  // A length or count of another value.
  (page, _, random) => {
    page.setBigUint64(anyWord(page, random), one([...SIZES, ...EDGES], random), true);
  },
  (page, _, random) => {
    const at = anyWord(page, random) + 4 * random.below(2);
    page.setUint32(at, Number(BigInt.asUintN(32, one([...SIZES, ...EDGES], random))), random.below(2) === 0);
  },
  (page, _, random) => {
    const at = anyWord(page, random);
    page.setBigUint64(at, page.getBigUint64(at, true) + one(STEPS, random), true);
  },
  // A pointer to another structure (a circle, an overlap), into one, or to any page there is or is
  // not.
  (page, _, random, pages) => {
    page.setBigUint64(anyWord(page, random), BigInt(one(pages, random)), true);
  },
  (page, _, random, pages) => {
    page.setBigUint64(anyWord(page, random), BigInt(one(pages, random) + 8 * random.below(512)), true);
  },
  (page, _, random) => {
    page.setBigUint64(anyWord(page, random), BigInt(random.below(2 ** 17) * PAGE_SIZE), true);
  },
  // A page that ends early, or was never written.
  (page, _, random) => {
    bytesOf(page).fill(one([0, 0, 0xff], random), random.below(PAGE_SIZE));
  },
  (page, _, random) => {
    const from = random.below(PAGE_SIZE);
    bytesOf(page).fill(0, from, from + random.below(64));
  },
  // What another page holds, whole or in part.
  (page, other) => {
    bytesOf(page).set(bytesOf(other));
  },
  (page, other, random) => {
    const from = 8 * random.below(512);
    bytesOf(page).set(bytesOf(other).subarray(from, from + 8 * random.below(64)), from);
  },
];

/**
 * Damages one to three of these pages.
 *
 * @returns what takes the damage back, and the pages that have it
 */
export function damage(
  ram: Ram,
  pages: readonly PhysAddr[],
  random: Prng,
): { readonly undo: () => void; readonly harmed: readonly PhysAddr[] } {
  const undo: (() => void)[] = [];
  const harmed: PhysAddr[] = [];
  const viewOf = (pa: PhysAddr): DataView => {
    const { buffer, byteOffset } = ram.bytes(pa, PAGE_SIZE);
    return new DataView(buffer, byteOffset, PAGE_SIZE);
  };
  for (let count = 1 + random.below(3); count > 0; count--) {
    const pa = one(pages, random);
    const page = viewOf(pa);
    const before = bytesOf(page).slice();
    one(HARMS, random)(page, viewOf(one(pages, random)), random, pages);
    undo.push(() => {
      bytesOf(page).set(before);
    });
    harmed.push(pa);
  }
  return {
    harmed,
    undo: () => {
      while (undo.length > 0) undo.pop()?.();
    },
  };
}
