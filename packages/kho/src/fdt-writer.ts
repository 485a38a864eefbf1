/** Writes a flattened device tree of version 17. */
import { assert, KernelError, checkWhole } from '@liveupdate/base';
import {
  FDT_BEGIN_NODE,
  FDT_END,
  FDT_END_NODE,
  FDT_LAST_COMPATIBLE,
  FDT_MAGIC,
  FDT_PROP,
  FDT_VERSION,
  FdtHeader,
  type FdtNode,
  checkNode,
} from './fdt.ts';

/** One empty entry ends the memory reservation block. */
const RESERVE_BYTES = 16;

/** Offsets in it have 32 bits. */
const MOST_BYTES = 2 ** 32 - 1;

const encoder = new TextEncoder();

/** A string property's value: UTF-8 with its NUL. */
export function fdtText(text: string): Uint8Array {
  return encoder.encode(`${text}\0`);
}

/** The structure block as u32 words and the strings block, collected node by node. */
class Builder {
  readonly words: number[] = [];
  readonly strings = new Map<string, number>();
  stringBytes = 0;

  addNode(node: FdtNode): void {
    checkNode(node);
    this.words.push(FDT_BEGIN_NODE);
    this.#addBytes(fdtText(node.name));
    for (const [name, value] of node.properties) {
      this.words.push(FDT_PROP, value.length, this.#stringOffset(name));
      this.#addBytes(value);
    }
    for (const child of node.children) this.addNode(child);
    this.words.push(FDT_END_NODE);
  }

  #addBytes(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i += 4) {
      const byte = (at: number): number => (at < bytes.length ? bytes[at] : 0);
      this.words.push(((byte(i) << 24) | (byte(i + 1) << 16) | (byte(i + 2) << 8) | byte(i + 3)) >>> 0);
    }
  }

  #stringOffset(name: string): number {
    let offset = this.strings.get(name);
    if (offset === undefined) {
      offset = this.stringBytes;
      this.strings.set(name, offset);
      this.stringBytes += encoder.encode(name).length + 1;
    }
    return offset;
  }
}

/**
 * A tree of exactly `size` bytes, the end of it free space.
 *
 * @throws KernelError ENOMEM: the tree needs more than `size` bytes. EINVAL: no node, or no such
 * size
 */
export function writeFdt(root: FdtNode, size: number): Uint8Array {
  checkWhole(size, 'bytes of a device tree', { max: MOST_BYTES });
  const builder = new Builder();
  builder.addNode(root);
  builder.words.push(FDT_END);
  const structAt = FdtHeader.SIZE + RESERVE_BYTES;
  const stringsAt = structAt + builder.words.length * 4;
  const end = stringsAt + builder.stringBytes;
  if (end > size)
    throw new KernelError(
      'ENOMEM',
      `the device tree needs ${end} bytes, ${size} are there: remove a subtree`,
    );

  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const header = [
    [FdtHeader.magic, FDT_MAGIC],
    [FdtHeader.totalsize, size],
    [FdtHeader.offStruct, structAt],
    [FdtHeader.offStrings, stringsAt],
    [FdtHeader.offReserve, FdtHeader.SIZE],
    [FdtHeader.version, FDT_VERSION],
    [FdtHeader.lastCompatible, FDT_LAST_COMPATIBLE],
    [FdtHeader.bootCpu, 0],
    [FdtHeader.sizeStrings, builder.stringBytes],
    [FdtHeader.sizeStruct, builder.words.length * 4],
  ] as const;
  for (const [field, value] of header) view.setUint32(field.at, value, false);
  builder.words.forEach((word, i) => {
    view.setUint32(structAt + i * 4, word, false);
  });
  for (const [name, offset] of builder.strings) {
    assert(offset + name.length < builder.stringBytes, 'a name lies outside the strings block');
    bytes.set(fdtText(name), stringsAt + offset);
  }
  return bytes;
}
