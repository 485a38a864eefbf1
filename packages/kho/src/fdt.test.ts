import { execFileSync } from 'node:child_process';
import { KernelError } from '@liveupdate/base';
import fc from 'fast-check';
import { describe, expect, test, type TestContext } from 'vitest';
import { fdtString, type FdtNode } from './fdt.ts';
import { readFdt } from './fdt-reader.ts';
import { fdtText, writeFdt } from './fdt-writer.ts';
import { coldKho, withCode } from './test-kho.ts';
import { seed } from '@liveupdate/base/test-seed';

const SIZE = 4096;

const node = (
  name: string,
  properties: Record<string, Uint8Array> = {},
  children: FdtNode[] = [],
): FdtNode => ({ name, properties: new Map(Object.entries(properties)), children });

/** A tree in plain arrays: values of a view and of a copy compare alike. */
function plain(tree: FdtNode): unknown {
  return [
    tree.name,
    [...tree.properties].map(([name, value]) => [name, [...value]]),
    tree.children.map(plain),
  ];
}

/** The header's fields by their place. */
const HEADER = [
  'magic',
  'totalsize',
  'offStruct',
  'offStrings',
  'offReserve',
  'version',
  'lastCompatible',
  'bootCpu',
  'sizeStrings',
  'sizeStruct',
];

function withWord(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = bytes.slice();
  new DataView(copy.buffer).setUint32(at, value, false);
  return copy;
}

const sample = writeFdt(
  node('', { compatible: fdtText('kho-v4'), 'preserved-memory-map': new Uint8Array(8).fill(7) }, [
    node('LUO', { 'preserved-data': new Uint8Array(8), 'blob-size': new Uint8Array(8) }),
    node('odd', { one: Uint8Array.of(1), none: new Uint8Array(0) }),
  ]),
  SIZE,
);

describe('a device tree', () => {
  const name = fc.stringMatching(/^[a-zA-Z0-9,._+@-]{1,20}$/);
  const properties = fc.uniqueArray(fc.tuple(name, fc.uint8Array({ maxLength: 30 })), {
    maxLength: 5,
    selector: ([key]) => key,
  });
  const tree = fc.letrec<{ tree: FdtNode }>((tie) => ({
    tree: fc.record({
      name,
      properties: properties.map((entries) => new Map(entries)),
      children: fc.oneof(
        { depthSize: 'small', maxDepth: 6 },
        fc.constant([]),
        fc.array(tie('tree'), { maxLength: 4 }),
      ),
    }),
  })).tree;

  test('that was written is read again', () => {
    let read = 0;
    fc.assert(
      fc.property(tree, (written) => {
        let bytes;
        try {
          bytes = writeFdt(written, SIZE);
        } catch (error) {
          expect(error).toEqual(withCode('ENOMEM'));
          return;
        }
        expect(bytes).toHaveLength(SIZE);
        expect(plain(readFdt(bytes))).toEqual(plain(written));
        read += 1;
      }),
      { seed, numRuns: 500 },
    );
    expect(read).toBeGreaterThan(100);
  });

  test.for(['', 'ü', '\uFEFFLUO', '日本語', 'a'.repeat(1000)])("a name such as '%s' comes back", (name) => {
    const bytes = writeFdt(node('', { [name]: fdtText(name) }, [node(name, { x: Uint8Array.of(1) })]), SIZE);
    const root = readFdt(bytes);
    expect(root.children[0].name).toBe(name);
    expect([...root.children[0].properties.keys()]).toEqual(['x']);
    expect(fdtString(root, name)).toBe(name);
  });

  test('a name that is no UTF-8 does not shift what follows', () => {
    const bytes = writeFdt(node('', {}, [node('nnn', { x: Uint8Array.of(9) })]), SIZE);
    const at = Buffer.from(bytes).indexOf('nnn');
    bytes[at] = 0xff;
    const [child] = readFdt(bytes).children;
    expect([child.name, [...child.properties]]).toEqual(['\uFFFDnn', [['x', Uint8Array.of(9)]]]);
  });

  test('reads from the midst of a buffer, and its values are live views', () => {
    const all = new Uint8Array(SIZE + 100);
    all.set(sample, 50);
    const root = readFdt(all.subarray(50, 50 + SIZE));
    const value = root.properties.get('preserved-memory-map')!;
    all.fill(8, value.byteOffset, value.byteOffset + 8);
    expect([...value]).toEqual(Array(8).fill(8));
  });

  test('fdtString: without NUL, with text after it, absent', () => {
    const root = node('', { plain: new TextEncoder().encode('ab'), more: fdtText('ab\0cd') });
    expect(['plain', 'more', 'absent'].map((key) => fdtString(root, key))).toEqual(['ab', 'ab', undefined]);
  });

  test('nops are skipped', () => {
    const bytes = writeFdt(node('', {}, [node('aaa'), node('b')]), SIZE);
    const view = new DataView(bytes.buffer);
    const first = 56 + 8; // after the root's begin and its empty name
    expect(view.getUint32(first, false)).toBe(1);
    for (let at = first; at < first + 12; at += 4) view.setUint32(at, 4, false); // begin, name, end of 'aaa'
    expect(readFdt(bytes).children.map((child) => child.name)).toEqual(['b']);
  });

  test.for([56, 100, 4095, 4096])('it fits in %i bytes or it is ENOMEM', (size) => {
    for (let length = 0; length < 4200; length += 7) {
      const value = new Uint8Array(length);
      // Header 40, reservation 16; root 8, property 12 and value, its end 4, end 4; name 'p' 2.
      const needed = 40 + 16 + 8 + 12 + Math.ceil(length / 4) * 4 + 8 + 2;
      const write = (): Uint8Array => writeFdt(node('', { p: value }), size);
      if (needed <= size) expect(readFdt(write()).properties.get('p')).toHaveLength(length);
      else expect(write).toThrow(withCode('ENOMEM'));
    }
  });
});

describe('a damaged device tree', () => {
  test('whole, it is read', () => {
    expect(readFdt(sample).children.map((child) => child.name)).toEqual(['LUO', 'odd']);
  });

  const values = [
    0, 1, 2, 3, 16, 17, 18, 40, 55, 56, 57, 4092, 4095, 4096, 4097, 0x7fff_ffff, 0xffff_fffc, 0xffff_ffff,
  ];
  const harmless = new Set(['offReserve', 'bootCpu']);

  test.for([...HEADER.entries()])('header field %i (%s)', ([i, field]) => {
    const right = new DataView(sample.buffer).getUint32(i * 4, false);
    const outcomes = new Set<string>();
    for (const value of values) {
      if (value === right) continue;
      try {
        readFdt(withWord(sample, i * 4, value));
        outcomes.add('read');
      } catch (error) {
        expect([value, error]).toEqual([value, withCode('EINVAL')]);
        outcomes.add('EINVAL');
      }
    }
    expect(outcomes.has('EINVAL')).toBe(!harmless.has(field));
  });

  test.for<[what: string, at: number, value: number]>([
    ['bad magic', 0, 0xedfe_0dd0],
    ['larger than its bytes', 4, 4097],
    ['smaller than its blocks', 4, 100],
    ['structure outside', 8, 4096],
    ['structure not aligned', 8, 58],
    ['strings outside', 12, 4096],
    ['version 16, which has no size of the structure block', 20, 16],
    ['for readers of version 18', 24, 18],
    ['strings longer than the tree', 32, 4096],
    ['structure longer than the tree', 36, 4096],
    ['structure too short', 36, 8],
    ['structure of no bytes', 36, 0],
    ['a first token that is none', 56, 5],
    ['a first token that is a property', 56, 3],
    ['a first token that ends a node', 56, 2],
    ['a first token that ends the tree', 56, 9],
    ['a property longer than the tree', 68, 0xffff_ffff],
    ['a property name outside the strings', 72, 4096],
  ])('%s', ([, at, value]) => {
    expect(() => readFdt(withWord(sample, at, value))).toThrow(withCode('EINVAL'));
  });

  test('a later version that this one can read is read', () => {
    expect(readFdt(withWord(sample, 20, 18)).children).toHaveLength(2);
  });

  test('a second root, a node that is not closed, a property after the root', () => {
    const words = (list: number[]): Uint8Array => {
      const bytes = withWord(sample, 36, list.length * 4);
      for (const [i, word] of list.entries()) bytes.set(withWord(bytes, 56 + i * 4, word));
      return bytes;
    };
    expect(readFdt(words([1, 0, 2, 9])).name).toBe('');
    for (const list of [
      [1, 0, 2, 1, 0, 2, 9],
      [1, 0, 9],
      [1, 0, 1, 0, 2, 9],
      [1, 0, 2, 3, 0, 0, 9],
      [1, 0, 2, 2, 9],
      [1, 0, 2],
      [1],
      [9],
      [4, 4, 4],
      Array<number>(400)
        .fill(1)
        .flatMap((begin) => [begin, 0]),
    ])
      expect(() => readFdt(words(list))).toThrow(withCode('EINVAL'));
  });

  test('cut short anywhere, it is EINVAL', () => {
    for (let length = 0; length < SIZE; length += length < 600 ? 1 : 13)
      expect(() => readFdt(sample.subarray(0, length))).toThrow(withCode('EINVAL'));
  });

  /** Reads; anything but a tree or EINVAL fails the test. */
  function readDamaged(bytes: Uint8Array): 'read' | 'EINVAL' {
    try {
      readFdt(bytes);
      return 'read';
    } catch (error) {
      if (error instanceof KernelError && error.code === 'EINVAL') return 'EINVAL';
      throw error;
    }
  }

  test('any one byte changed', () => {
    const used = 56 + new DataView(sample.buffer).getUint32(36, false) + 120;
    const outcomes = new Set<string>();
    for (let at = 0; at < used; at++) {
      for (const value of [0, 1, 2, 3, 4, 9, 0x7f, 0x80, 0xff, sample[at] ^ 1]) {
        const bytes = sample.slice();
        bytes[at] = value;
        outcomes.add(readDamaged(bytes));
      }
    }
    expect([...outcomes].sort()).toEqual(['EINVAL', 'read']);
  });

  test('random bytes behind a good header, and tokens at random', () => {
    const token = fc.constantFrom(1, 2, 3, 4, 9, 0, 5, 0x6161_6100, 0xffff_ffff);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 400, maxLength: 400 }), (random) => {
        const bytes = sample.slice();
        bytes.set(random, 40);
        readDamaged(bytes);
      }),
      { seed, numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 40 }), (tokens) => {
        const bytes = withWord(sample, 36, tokens.length * 4);
        const view = new DataView(bytes.buffer);
        for (const [i, word] of tokens.entries()) view.setUint32(56 + i * 4, word, false);
        readDamaged(bytes);
      }),
      { seed, numRuns: 2_000 },
    );
  });
});

describe('Debian’s device tree compiler', () => {
  function tool(ctx: TestContext, name: string, args: string[], input?: Uint8Array): Buffer {
    try {
      return execFileSync(name, args, { input, stdio: ['pipe', 'pipe', 'pipe'] });
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ENOENT') throw error;
      const why = `'${name}' is not installed: apt-get install device-tree-compiler`;
      console.warn(`SKIPPED: ${why}`);
      ctx.skip(why);
    }
  }

  const ours = (): Uint8Array => {
    const kho = coldKho();
    const block = kho.allocPreserve(100);
    kho.addSubtree('LUO', block.pa, 100);
    return kho.ram.bytes(kho.entry.fdtAddr, kho.entry.fdtSize).slice();
  };

  test('dtc reads what a kernel of ours publishes', (ctx) => {
    const text = tool(ctx, 'dtc', ['-I', 'dtb', '-O', 'dts', '-q'], ours()).toString();
    expect(text).toContain('compatible = "kho-v4";');
    expect(text).toMatch(/LUO \{\s+preserved-data = \[?.*\s+blob-size = /);
    expect(text).toMatch(/kexec-metadata \{/);
  });

  test('fdtdump finds its blocks where the header says', (ctx) => {
    const text = tool(ctx, 'fdtdump', ['-'], ours()).toString();
    expect(text).toContain('// magic:\t\t0xd00dfeed');
    expect(text).toContain('compatible = "kho-v4";');
  });

  test('what dtc writes is read, nothing lost on the way there and back', (ctx) => {
    const dtb = tool(ctx, 'dtc', ['-I', 'dtb', '-O', 'dtb', '-q'], sample);
    expect(plain(readFdt(dtb))).toEqual(plain(readFdt(sample)));
  });
});
