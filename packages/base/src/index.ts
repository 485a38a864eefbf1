export { assert, AssertionError } from './assert.ts';
export {
  brandedClass,
  describeCopy,
  isBranded,
  isCompatible,
  type Branded,
  type PackageCopy,
} from './brand.ts';
export { bytesOf, type Bytes } from './bytes-of.ts';
export {
  checkFlag,
  checkFunction,
  checkInstance,
  checkList,
  checkObject,
  checkOneOf,
  checkOptions,
  checkText,
  checkWhole,
  isInstance,
  shown,
  type Bounds,
  type ClassOf,
} from './checks.ts';
export {
  clearBits,
  findBit,
  log2Ceil,
  log2Floor,
  lowestBit,
  popCount,
  setBits,
  trailingZeros,
} from './bits.ts';
export { codeOf, errnoCode, errnoNumber, KernelError, type ErrnoCode } from './errors.ts';
export { DISPOSE, type DisposeSymbol, type Disposing } from './dispose.ts';
export { layout, type Field, type Layout } from './layout.ts';
export { OpenFile } from './open-file.ts';
export { fillRandom, Prng, xorshift32 } from './prng.ts';

export { byteLength, readU64, StructView, writeU64 } from './struct-view.ts';
export { suppressedBy, withSuppressed } from './suppressed.ts';
export { Undo } from './undo.ts';
export {
  formatSize,
  HUGE_ORDER,
  MAX_FOLIO_SIZE,
  MAX_ORDER,
  PAGE_SHIFT,
  PAGE_SIZE,
  pagesFor,
  parseSize,
  pfnToPhys,
  physToPfn,
  type PageIndex,
  type PhysAddr,
  type Pfn,
} from './units.ts';
