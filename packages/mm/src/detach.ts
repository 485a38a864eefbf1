/** Taking memory away from whoever still has a view of it, as unmapping does. */

/**
 * Ends every view of a buffer. Engines without `ArrayBuffer.prototype.transfer` (Node 20, browsers
 * from before 2024) do it by a clone; where there is neither (a context of `node:vm` in Node 20),
 * views go on, over memory that nobody else uses.
 */
export function detach(buffer: ArrayBuffer): void {
  const { transfer } = buffer as Partial<Pick<ArrayBuffer, 'transfer'>>;
  if (transfer) Reflect.apply(transfer, buffer, [0]);
  else (globalThis as Cloning).structuredClone?.(buffer, { transfer: [buffer] });
}

interface Cloning {
  readonly structuredClone?: (value: unknown, options: { transfer: ArrayBuffer[] }) => unknown;
}
