/**
 * Two files of one mount against a naive model: an array of bytes and a set of pages that are
 * there. Run again what failed with LIVEUPDATE_SEED.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { HeapRam, overlayRam, SparseRam } from '@liveupdate/mm';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE } from './fallocate.ts';
import type { ShmemMapping } from './mapping.ts';
import type { PinnedFolios } from './pin.ts';
import {
  MFD_ALLOW_SEALING,
  SEAL_FUTURE_WRITE,
  SEAL_GROW,
  SEAL_SEAL,
  SEAL_SHRINK,
  SEAL_WRITE,
} from './seals.ts';
import type { ShmemFile } from './shmem-file.ts';
import { contents, mount, outcome, pattern } from './test-mount.ts';

const RUNS = isQuick ? 30 : 140;

/** Bytes that a file may reach: a huge page and some more. */
const SPAN = 600 * PAGE_SIZE;
const LIMIT_PAGES = 700;
const DATA = pattern(SPAN + 256);

/** What an operation at `at` writes. */
function dataFor(at: number, length: number): Uint8Array {
  return DATA.subarray(at % 251, (at % 251) + length);
}

/** What the model knows of a file. */
class Model {
  readonly bytes = new Uint8Array(SPAN);
  readonly present = new Set<number>();
  size = 0;
  seals = 0;
  frozen = false;
  mapping: ShmemMapping | undefined;
  pinned: PinnedFolios | undefined;

  missing(from: number, to: number): number {
    let holes = 0;
    for (let page = Math.floor(from / PAGE_SIZE); page < Math.ceil(to / PAGE_SIZE); page++)
      if (!this.present.has(page)) holes += 1;
    return holes;
  }

  fill(from: number, to: number): void {
    for (let page = Math.floor(from / PAGE_SIZE); page < Math.ceil(to / PAGE_SIZE); page++)
      this.present.add(page);
  }
}

interface Op {
  readonly kind:
    | 'write'
    | 'read'
    | 'truncate'
    | 'allocate'
    | 'punch'
    | 'freeze'
    | 'pin'
    | 'undoPin'
    | 'map'
    | 'unmap'
    | 'seal'
    | 'advise';
  readonly file: 0 | 1;
  readonly at: number;
  readonly length: number;
  readonly seal: number;
}

const offset = fc.oneof(
  fc.nat(SPAN - 1),
  fc.nat(5 * PAGE_SIZE),
  fc.nat(599).map((page) => page * PAGE_SIZE),
  fc.constantFrom(512 * PAGE_SIZE, 512 * PAGE_SIZE - 1, 512 * PAGE_SIZE + 1),
);
const anOp: fc.Arbitrary<Op> = fc.record({
  kind: fc.constantFrom(
    'write',
    'write',
    'write',
    'read',
    'truncate',
    'truncate',
    'allocate',
    'allocate',
    'punch',
    'punch',
    'freeze',
    'pin',
    'undoPin',
    'map',
    'unmap',
    'advise',
    'seal',
  ),
  file: fc.constantFrom(0, 1),
  at: offset,
  length: fc.oneof(
    { weight: 5, arbitrary: fc.nat(3 * PAGE_SIZE) },
    { weight: 4, arbitrary: fc.nat(9).map((n) => n * PAGE_SIZE) },
    { weight: 1, arbitrary: fc.nat(SPAN) },
  ),
  // A sealed file is a dull file: mostly a seal that hardly gets in the way.
  seal: fc.constantFrom(0, 0, 0, 0, SEAL_GROW, SEAL_SHRINK, SEAL_WRITE, SEAL_FUTURE_WRITE, SEAL_SEAL),
});

/** What the operation must answer, as the rules have it; 'ok' ones are done to the model too. */
function expected(op: Op, model: Model, used: number): { code: string; act: () => void } {
  const { at, kind } = op;
  const end = Math.min(SPAN, at + op.length);
  const length = end - at;
  const refuse = (code: string) => ({ code, act: () => undefined });
  const grows = (to: number): boolean => to > model.size && (model.frozen || (model.seals & SEAL_GROW) !== 0);
  const sealed = (model.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE)) !== 0;
  const beyond = (from: number, to: number): boolean => used + model.missing(from, to) > LIMIT_PAGES;
  switch (kind) {
    case 'write':
      if (length === 0) return { code: 'ok', act: () => undefined };
      if (sealed || writableEnd(op, model) <= at) return refuse('EPERM');
      if (beyond(at, writableEnd(op, model))) return refuse('ENOMEM');
      return {
        code: 'ok',
        act: () => {
          const to = writableEnd(op, model);
          model.bytes.set(dataFor(at, to - at), at);
          model.fill(at, to);
          model.size = Math.max(model.size, to);
        },
      };
    case 'punch':
      if (length === 0) return refuse('EINVAL');
      if (model.frozen || sealed) return refuse('EPERM');
      return {
        code: 'ok',
        act: () => {
          model.bytes.fill(0, at, end);
          if (model.mapping) return; // its pages stay, zeroed
          for (let page = Math.ceil(at / PAGE_SIZE); page < Math.floor(end / PAGE_SIZE); page++)
            model.present.delete(page);
        },
      };
    case 'allocate':
      if (length === 0) return refuse('EINVAL');
      if (model.frozen || grows(end)) return refuse('EPERM');
      if (beyond(at, end)) return refuse('ENOMEM');
      return {
        code: 'ok',
        act: () => {
          model.fill(at, end);
          model.size = Math.max(model.size, end);
        },
      };
    case 'truncate':
      if (at === model.size) return { code: 'ok', act: () => undefined };
      if (model.frozen || grows(at) || (at < model.size && (model.seals & SEAL_SHRINK) !== 0))
        return refuse('EPERM');
      return {
        code: 'ok',
        act: () => {
          if (at < model.size) model.bytes.fill(0, at);
          const keep = Math.ceil(at / PAGE_SIZE);
          for (const page of model.present) if (page >= keep) model.present.delete(page);
          model.size = at;
        },
      };
    case 'map':
      if (sealed) return refuse('EPERM');
      if (beyond(0, model.size)) return refuse('ENOMEM');
      return { code: 'ok or EOPNOTSUPP', act: () => model.fill(0, model.size) };
    case 'pin':
      if (beyond(0, model.size)) return refuse('ENOMEM');
      return {
        code: 'ok',
        act: () => {
          model.fill(0, model.size);
          model.frozen = true;
        },
      };
    case 'undoPin':
      return beyond(0, model.size) ? refuse('ENOMEM') : { code: 'ok', act: () => undefined };
    case 'seal':
      if ((model.seals & SEAL_SEAL) !== 0) return refuse('EPERM');
      if ((op.seal & SEAL_WRITE) !== 0 && model.mapping) return refuse('EBUSY');
      return { code: 'ok', act: () => (model.seals |= op.seal) };
    default:
      return { code: 'ok', act: () => undefined };
  }
}

/** Where a write ends: of a file that may not grow, with its last whole page. */
function writableEnd(op: Op, model: Model): number {
  const end = Math.min(SPAN, op.at + op.length);
  const mayGrow = !model.frozen && (model.seals & SEAL_GROW) === 0;
  return mayGrow || end <= model.size ? end : Math.floor(model.size / PAGE_SIZE) * PAGE_SIZE;
}

function perform(op: Op, file: ShmemFile, model: Model): void {
  const { at } = op;
  const length = Math.min(SPAN, at + op.length) - at;
  switch (op.kind) {
    case 'write':
      expect(file.pwrite(dataFor(at, length), at)).toBe(length === 0 ? 0 : writableEnd(op, model) - at);
      break;
    case 'read': {
      const target = new Uint8Array(length);
      const done = file.pread(target, at);
      expect(done).toBe(Math.max(0, Math.min(length, model.size - at)));
      expect(Buffer.compare(target.subarray(0, done), model.bytes.subarray(at, at + done))).toBe(0);
      break;
    }
    case 'truncate':
      file.truncate(at);
      break;
    case 'allocate':
      file.allocate(at, length);
      break;
    case 'punch':
      file.fallocate(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, at, length);
      break;
    case 'map': {
      model.mapping?.unmap();
      model.mapping = undefined;
      const mapping = file.map();
      expect(Buffer.compare(mapping.bytes, model.bytes.subarray(0, model.size))).toBe(0);
      model.mapping = mapping;
      break;
    }
    case 'unmap':
      model.mapping?.unmap();
      model.mapping = undefined;
      break;
    case 'pin':
      if (model.pinned) file.inode.unpin(model.pinned);
      else file.inode.freeze();
      model.pinned = undefined;
      try {
        model.pinned = file.inode.pin();
      } catch (error) {
        file.inode.thaw();
        model.frozen = false;
        throw error;
      }
      break;
    case 'freeze': // or rather thaw: pinning freezes
      if (model.pinned) {
        file.inode.unpin(model.pinned);
        file.inode.thaw();
        model.pinned = undefined;
        model.frozen = false;
      }
      break;
    case 'undoPin':
      file.inode.undoPin(file.inode.pin());
      break;
    case 'seal':
      file.addSeals(op.seal);
      break;
    case 'advise':
      file.adviseHuge();
      break;
  }
}

test('any sequence of operations does what the model does', () => {
  let operations = 0;
  const property = fc.property(
    fc.array(anOp, { minLength: 75, maxLength: 100, size: 'max' }),
    fc.constantFrom('never', 'advise', 'always', 'within_size'),
    fc.boolean(),
    (ops, huge, heap) => {
      const size = 8 * 2 ** 20;
      const ram = heap ? new HeapRam(size) : overlayRam(new SparseRam(size));
      const shmem = mount({ ram, huge, memoryLimit: LIMIT_PAGES * PAGE_SIZE });
      const free = shmem.pages.freePages;
      const files = [0, 1].map(() => shmem.memfdCreate('f', MFD_ALLOW_SEALING));
      const models = [new Model(), new Model()];
      for (const op of ops) {
        operations += 1;
        const file = files[op.file];
        const model = models[op.file];
        const { code, act } = expected(op, model, models[0].present.size + models[1].present.size);
        const result = outcome(() => perform(op, file, model));
        if (code === 'ok or EOPNOTSUPP') expect(['ok', 'EOPNOTSUPP']).toContain(result);
        else expect([op.kind, result]).toEqual([op.kind, code]);
        if (result === 'ok') act();
        expect(file.size).toBe(model.size);
        expect(file.seals).toBe(model.seals);
        expect(shmem.used).toBe((models[0].present.size + models[1].present.size) * PAGE_SIZE);
      }
      for (const [i, file] of files.entries()) {
        const model = models[i];
        expect(Buffer.compare(contents(file), model.bytes.subarray(0, model.size))).toBe(0);
        for (let page = 0; page < 600; page++)
          expect(file.inode.cache.at(page) !== 0).toBe(model.present.has(page));
        if (model.pinned) {
          file.inode.unpin(model.pinned);
          file.inode.thaw();
        }
        shmem.pages.assertConsistent();
        file.close();
        model.mapping?.unmap();
      }
      shmem.pages.assertConsistent();
      expect([shmem.used, shmem.pages.freePages]).toEqual([0, free]);
    },
  );
  fc.assert(property, { seed, numRuns: RUNS });
  expect(operations).toBeGreaterThan(RUNS * 70);
});
