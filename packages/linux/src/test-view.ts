import type { RamPiece, RamView } from '@liveupdate/mm';
import type { MappedRam } from './mapped-ram.ts';

/** A view of pieces whole, with whatever is there. */
export function viewPieces(ram: MappedRam, pieces: readonly RamPiece[]): RamView {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  return ram.view(pieces, { size, populate: false });
}
