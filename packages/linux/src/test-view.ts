/** For tests: views, and what the address space of this process has. */
import * as fs from 'node:fs';
import type { RamPiece, RamView } from '@liveupdate/mm';
import type { MappedRam } from './mapped-ram.ts';
import { MappedView } from './mapped-view.ts';

/** A view of pieces whole, with whatever is there. */
export function viewPieces(ram: MappedRam, pieces: readonly RamPiece[]): RamView {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  return ram.view(pieces, { size, populate: false });
}

/** A view of one piece, as its class has it. */
export function viewAt(ram: MappedRam, pa: number, length: number): MappedView {
  const view = viewPieces(ram, [{ pa, length }]);
  if (view instanceof MappedView) return view;
  throw new Error('a view of another kind');
}

/**
 * What is mapped at an address: the line of /proc/self/maps, its range left out; undefined where
 * nothing is.
 */
export function mappedAt(address: bigint): string | undefined {
  for (const line of fs.readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) (.*)$/.exec(line);
    if (found && BigInt(`0x${found[1]}`) <= address && address < BigInt(`0x${found[2]}`)) return found[3];
  }
  return undefined;
}

/** Memory of nobody: anonymous, private, no file. */
export const NOBODYS = /^rw-p 0+ 00:00 0\s*$/;

/** Mappings of this process; those alone whose line matches, where something is given. */
export function countMaps(of = /./): number {
  const lines = fs.readFileSync('/proc/self/maps', 'latin1').split('\n');
  return lines.filter((line) => of.test(line)).length;
}
