/**
 * Vmalloc areas across a handover: their pieces are preserved as folios, and listed in chained pages that are preserved too (kernel:
 * kho_preserve_vmalloc, kho_restore_vmalloc).
 */
import { assert, KernelError, PAGE_SIZE, pfnToPhys, Undo, writeU64 } from '@liveupdate/base';
import { FolioRuns, VmallocArea } from '@liveupdate/mm';
import { VMALLOC_ALLOC, VMALLOC_CHUNK_ENTRIES, VMALLOC_HUGE } from './abi.ts';
import type { IncomingMemory } from './incoming-memory.ts';
import type { OutgoingMemory } from './outgoing-memory.ts';
import type { PreservedBlock } from './preserved-block.ts';
import { readVmallocPages, type VmallocDescriptor } from './vmalloc-ser.ts';

/** See Kho.preserveVmalloc. */
export function preserveVmalloc(memory: OutgoingMemory, area: VmallocArea): VmallocDescriptor {
  using undo = new Undo();
  const pieces = runsOf(area.pfns, area.order);
  memory.preserveRuns(pieces);
  undo.add(() => {
    memory.unpreserveRuns(pieces);
  });
  const chunks: PreservedBlock[] = [];
  const chunkCount = Math.floor(area.pfns.length / VMALLOC_CHUNK_ENTRIES) + 1;
  while (chunks.length < chunkCount) {
    const chunk = memory.allocPreserve(PAGE_SIZE);
    undo.add(() => {
      memory.unpreserveFree(chunk.pa);
    });
    chunks.push(chunk);
  }
  for (const [c, chunk] of chunks.entries()) {
    const first = c * VMALLOC_CHUNK_ENTRIES;
    const count = Math.min(VMALLOC_CHUNK_ENTRIES, area.pfns.length - first);
    writeU64(chunk.view, 0, c + 1 < chunkCount ? chunks[c + 1].pa : 0);
    for (let i = 0; i < count; i++) writeU64(chunk.view, (i + 1) * 8, pfnToPhys(area.pfns[first + i]));
  }
  undo.keep();
  const flags = VMALLOC_ALLOC | (area.order > 0 ? VMALLOC_HUGE : 0);
  return { first: chunks[0].pa, totalPages: area.pageCount, flags, order: area.order };
}

/** See Kho.unpreserveVmalloc. */
export function unpreserveVmalloc(memory: OutgoingMemory, descriptor: VmallocDescriptor): void {
  const { pfns, chunks } = readVmallocPages(memory.ram, descriptor);
  memory.unpreserveRuns(runsOf(pfns, descriptor.order));
  memory.unpreserveRuns(runsOf(chunks, 0));
  memory.pages.putBulk(chunks, 0, chunks.length);
}

/** See Kho.restoreVmalloc. */
export function restoreVmalloc(memory: IncomingMemory, descriptor: VmallocDescriptor): VmallocArea {
  const { pfns, chunks } = readVmallocPages(memory.ram, descriptor);
  const all = [runsOf(pfns, descriptor.order), runsOf(chunks, 0)];
  for (const runs of all) checkIncoming(memory, runs);
  if (namesTwice(pfns, chunks))
    throw new KernelError('EINVAL', 'a vmalloc area names a page twice: it is damaged');
  for (const runs of all) {
    const restored = memory.restoreRuns(runs);
    assert(restored === runs.length, 'pages that were just found incoming can be restored');
  }
  memory.pages.putBulk(chunks);
  return new VmallocArea(memory.pages, pfns, descriptor.order);
}

function checkIncoming(memory: IncomingMemory, { length, pfns, counts, orders }: FolioRuns): void {
  const { table } = memory.pages;
  for (let i = 0; i < length; i++) {
    for (let f = 0, pfn = pfns[i]; f < counts[i]; f++, pfn += 1 << orders[i]) {
      if (!memory.isIncoming(pfn) || table.orderOf(pfn) !== orders[i]) {
        throw new KernelError('EINVAL', `a vmalloc area names frame ${pfn}, which is not preserved for it`);
      }
    }
  }
}

/** Pieces of one order as runs, in their order; the index is that of their pages. */
function runsOf(pfns: Uint32Array, order: number): FolioRuns {
  const runs = new FolioRuns();
  for (let i = 0; i < pfns.length; i++) runs.push(i << order, pfns[i], 1, order);
  return runs;
}

/** Whether a frame is in these lists more than once. */
function namesTwice(pfns: Uint32Array, chunks: Uint32Array): boolean {
  const all = new Uint32Array(pfns.length + chunks.length);
  all.set(pfns);
  all.set(chunks, pfns.length);
  all.sort();
  for (let i = 1; i < all.length; i++) if (all[i] === all[i - 1]) return true;
  return false;
}
