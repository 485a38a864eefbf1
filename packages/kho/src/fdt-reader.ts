/**
 * Reads a flattened device tree. Every offset is checked: the bytes come from another kernel and
 * may be damaged.
 */
import { KernelError, checkInstance } from '@liveupdate/base';
import {
  FDT_BEGIN_NODE,
  FDT_END,
  FDT_END_NODE,
  FDT_MAGIC,
  FDT_NOP,
  FDT_PROP,
  FDT_VERSION,
  fdtDecode,
  FdtHeader,
  type FdtNode,
} from './fdt.ts';

/** Nodes inside nodes, at most; ours has two levels. */
const MAX_DEPTH = 16;

interface OpenNode extends FdtNode {
  readonly properties: Map<string, Uint8Array>;
  readonly children: OpenNode[];
}

function damaged(what: string): KernelError {
  return new KernelError('EINVAL', `the device tree is damaged: ${what}`);
}

/** Bytes from `at` up to a NUL before `end`. */
function nameAt(bytes: Uint8Array, at: number, end: number): Uint8Array {
  if (at >= end) throw damaged('a name lies outside its block');
  const nul = bytes.subarray(at, end).indexOf(0);
  if (nul < 0) throw damaged('a name without an end');
  return bytes.subarray(at, at + nul);
}

/**
 * The root node of the tree in `bytes`. Property values are views on `bytes`.
 *
 * @throws KernelError EINVAL: no bytes, no device tree of a version compatible with 17, or a
 * damaged one
 */
export function readFdt(bytes: Uint8Array): FdtNode {
  checkInstance(bytes, 'the bytes of a device tree', Uint8Array);
  if (bytes.length < FdtHeader.SIZE) throw damaged(`${bytes.length} bytes are too few for its header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (at: number): number => view.getUint32(at, false);
  if (u32(FdtHeader.magic.at) !== FDT_MAGIC)
    throw new KernelError('EINVAL', 'there is no device tree (bad magic)');
  // Version 16 lacks the size of the structure block, which every check below leans on.
  if (u32(FdtHeader.lastCompatible.at) > FDT_VERSION || u32(FdtHeader.version.at) < FDT_VERSION) {
    throw new KernelError(
      'EINVAL',
      `device tree of version ${u32(FdtHeader.version.at)}, this reads ${FDT_VERSION}`,
    );
  }
  const total = u32(FdtHeader.totalsize.at);
  if (total > bytes.length) throw damaged(`it claims ${total} bytes of ${bytes.length}`);
  const structAt = u32(FdtHeader.offStruct.at);
  const structEnd = structAt + u32(FdtHeader.sizeStruct.at);
  const stringsAt = u32(FdtHeader.offStrings.at);
  const stringsEnd = stringsAt + u32(FdtHeader.sizeStrings.at);
  if (structAt % 4 !== 0 || structEnd > total || stringsEnd > total)
    throw damaged('a block lies outside the tree');

  const open: OpenNode[] = [];
  let root: OpenNode | undefined;
  let at = structAt;
  const next = (length: number): number => {
    const start = at;
    at += Math.ceil(length / 4) * 4;
    if (at > structEnd) throw damaged('it ends in the middle');
    return start;
  };
  for (;;) {
    const token = u32(next(4));
    const node = open.at(-1);
    if (token === FDT_NOP) continue;
    if (token === FDT_BEGIN_NODE) {
      const name = nameAt(bytes, at, structEnd);
      next(name.length + 1);
      const child: OpenNode = { name: fdtDecode(name), properties: new Map(), children: [] };
      if (node) node.children.push(child);
      else if (root) throw damaged('a second root');
      else root = child;
      if (open.push(child) > MAX_DEPTH) throw damaged(`nodes are more than ${MAX_DEPTH} deep`);
    } else if (token === FDT_PROP) {
      if (!node) throw damaged('a property outside every node');
      const length = u32(next(4));
      const name = nameAt(bytes, stringsAt + u32(next(4)), stringsEnd);
      const valueAt = next(length);
      node.properties.set(fdtDecode(name), bytes.subarray(valueAt, valueAt + length));
    } else if (token === FDT_END_NODE) {
      if (!open.pop()) throw damaged('a node ends that never began');
    } else if (token === FDT_END) {
      if (!root || node) throw damaged('it ends inside a node');
      return root;
    } else {
      throw damaged(`unknown token ${token}`);
    }
  }
}
