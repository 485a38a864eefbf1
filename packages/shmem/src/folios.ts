/** The folios of a file, in file order and as they lie in RAM. */
import type { FolioRows, FolioRuns } from '@liveupdate/mm';

export interface Folios {
  /** In file order. */
  readonly runs: FolioRuns;
  /** As they lie in RAM. */
  readonly rows: FolioRows;
}

/** Those of a range of pages. */
export interface FoundFolios extends Folios {
  /** Pages that are holes. */
  readonly holes: number;
  /** None lies in scratch. Otherwise some may. */
  readonly areOutsideScratch: boolean;
}
