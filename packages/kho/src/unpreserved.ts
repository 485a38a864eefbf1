/** Which of some folios this kernel does not hand over itself. */
import type { Pfn } from '@liveupdate/base';
import { HEAD, KIND, PRESERVED, type PageTable } from '@liveupdate/mm';

/** Calls `visit` with the rows of these folios that are not preserved as such folios. */
export function forEachUnpreserved(
  table: PageTable,
  pfn: Pfn,
  count: number,
  order: number,
  visit: (pfn: Pfn, count: number) => void,
): void {
  const step = 2 ** order;
  const end = pfn + count * step;
  for (let i = 0; i < count;) {
    const at = pfn + i * step;
    const preserved = table.foliosAlike(KIND | PRESERVED, HEAD | PRESERVED, order, at, count - i);
    if (preserved > 0) {
      i += preserved;
      continue;
    }
    // Up to the next that may be one; itself at the least, where it is preserved as another folio.
    const others = Math.max(1, Math.floor((table.flagsEnd(PRESERVED, 0, at, end) - at) / step));
    visit(at, others);
    i += others;
  }
}
