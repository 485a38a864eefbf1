/** For tests: what a loader sees of a kernel image. */

export interface FakeKernel {
  readonly setupSectors?: number;
  readonly version?: number;
  readonly relocatable?: number;
  readonly alignment?: number;
  readonly least?: number;
  readonly initSize?: number;
  readonly code?: Uint8Array;
}

export const RELEASE = '9.9.9-test (somebody@somewhere) #1';

/** A bzImage that no processor would run. */
export function fakeKernel(of: FakeKernel = {}): Uint8Array {
  const { setupSectors = 5, version = 0x20f, relocatable = 1, alignment = 2 ** 21 } = of;
  const { least = 2 ** 24, initSize = 2 ** 22, code = new Uint8Array(3000).fill(0x90) } = of;
  const setup = 512 * (1 + (setupSectors || 4));
  const units = Math.ceil(code.length / 16);
  const bytes = new Uint8Array(setup + 16 * units);
  const view = new DataView(bytes.buffer);
  const text = new TextEncoder();
  bytes[0x1f1] = setupSectors;
  view.setUint32(0x1f4, units, true);
  bytes.set(text.encode('HdrS'), 0x202);
  view.setUint16(0x206, version, true);
  view.setUint16(0x20e, 0x100, true);
  bytes.set(text.encode(RELEASE), 0x300);
  view.setUint32(0x214, 0x10_0000, true);
  view.setUint32(0x230, alignment, true);
  bytes[0x234] = relocatable;
  view.setBigUint64(0x258, BigInt(least), true);
  view.setUint32(0x260, initSize, true);
  bytes.set(code, setup);
  return bytes;
}
