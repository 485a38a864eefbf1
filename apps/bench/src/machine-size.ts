/** How large a machine's RAM is made for a file: with room for scratch, the map and the records, of 16 bytes per folio. */
import { MAX_FOLIO_SIZE } from '@liveupdate/base';

export function ramSizeFor(fileSize: number): number {
  return Math.ceil((fileSize * 1.02 + 32 * 2 ** 20) / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
}
