/**
 * Flattened device trees, version 17 (Devicetree Specification, chapter 5): what reader and writer
 * share.
 */
import { layout, checkInstance, checkList, checkObject, checkText } from '@liveupdate/base';

/** A node: properties and children in file order. Values are raw bytes. */
export interface FdtNode {
  readonly name: string;
  readonly properties: ReadonlyMap<string, Uint8Array>;
  readonly children: readonly FdtNode[];
}

/** Header fields are big-endian u32. */
export const FdtHeader = layout('fdt_header', 40, {
  magic: { at: 0, bytes: 4 },
  totalsize: { at: 4, bytes: 4 },
  offStruct: { at: 8, bytes: 4 },
  offStrings: { at: 12, bytes: 4 },
  offReserve: { at: 16, bytes: 4 },
  version: { at: 20, bytes: 4 },
  lastCompatible: { at: 24, bytes: 4 },
  bootCpu: { at: 28, bytes: 4 },
  sizeStrings: { at: 32, bytes: 4 },
  sizeStruct: { at: 36, bytes: 4 },
});

export const FDT_MAGIC = 0xd00d_feed;
export const FDT_VERSION = 17;
export const FDT_LAST_COMPATIBLE = 16;
export const FDT_BEGIN_NODE = 1;
export const FDT_END_NODE = 2;
export const FDT_PROP = 3;
export const FDT_NOP = 4;
export const FDT_END = 9;

// A byte order mark is text like any other: a name with one is another name.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Text of names and string values. */
export function fdtDecode(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** @throws KernelError EINVAL: no node */
export function checkNode(node: FdtNode): void {
  checkObject(node, 'a node of a device tree');
  checkText(node.name, 'a name of a node');
  checkInstance(node.properties, 'the properties of a node', Map);
  checkList(node.children, 'the children of a node');
}

/**
 * Text of a string property, without its NUL; undefined where it is absent.
 *
 * @throws KernelError EINVAL: no node
 */
export function fdtString(node: FdtNode, property: string): string | undefined {
  checkNode(node);
  const value = node.properties.get(property);
  if (!value) return undefined;
  const end = value.indexOf(0);
  return fdtDecode(end < 0 ? value : value.subarray(0, end));
}
