/**
 * Makes small ELF core files for tests, field by field from the System V ABI: nothing of the
 * reader's layouts is used.
 */

export interface TestSegment {
  readonly pa: number;
  readonly bytes: Uint8Array;
  /** Bytes in memory; default those in the file. */
  readonly memory?: number;
  readonly type?: number;
}

const EHDR = 64;
const PHDR = 56;

export function elfCore(segments: readonly TestSegment[]): Uint8Array {
  const size = EHDR + PHDR * segments.length + segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 4, true); // ET_CORE
  view.setUint16(18, 62, true); // x86-64
  view.setUint32(20, 1, true);
  view.setBigUint64(32, BigInt(EHDR), true);
  view.setUint16(52, EHDR, true);
  view.setUint16(54, PHDR, true);
  view.setUint16(56, segments.length, true);
  let offset = EHDR + PHDR * segments.length;
  for (const [i, { pa, bytes, memory = bytes.length, type = 1 }] of segments.entries()) {
    const at = EHDR + PHDR * i;
    view.setUint32(at, type, true);
    for (const [where, value] of [
      [8, offset],
      [24, pa],
      [32, bytes.length],
      [40, memory],
    ])
      view.setBigUint64(at + where, BigInt(value), true);
    file.set(bytes, offset);
    offset += bytes.length;
  }
  return file;
}
