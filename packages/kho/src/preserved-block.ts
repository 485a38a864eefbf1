/** A folio that KHO hands over or was handed, as a structure in memory. */
import { StructView, type PhysAddr } from '@liveupdate/base';

export class PreservedBlock extends StructView {
  readonly pa: PhysAddr;

  constructor(pa: PhysAddr, bytes: Uint8Array) {
    super(bytes);
    this.pa = pa;
  }
}
