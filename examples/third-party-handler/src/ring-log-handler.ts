/** The file handler of ring logs: the folio with the lines stays where it is, a record names it. */
import { KernelError, layout, pfnToPhys, physToPfn, Undo } from '@liveupdate/base';
import type { Kho, PreservedBlock } from '@liveupdate/kho';
import type { FileHandler } from '@liveupdate/luo-core';
import { RingLog } from './ring-log.ts';

export const RING_LOG_V1 = 'ring-log-v1';

const RingLogSer = layout('ring_log_ser', 24, {
  folio: { at: 0, bytes: 8 }, // pa
  start: { at: 8, bytes: 8 },
  length: { at: 16, bytes: 8 },
});

export function ringLogHandler({ kho }: { readonly kho: Kho }): FileHandler<RingLog> {
  const { pages } = kho;

  function write(record: PreservedBlock, log: RingLog): void {
    record.setU64(RingLogSer.folio, pfnToPhys(log.pfn));
    record.setU64(RingLogSer.start, log.start);
    record.setU64(RingLogSer.length, log.length);
  }

  /** Takes the log of a record over, and frees the record. */
  function take(data: bigint): RingLog {
    const record = kho.at(data);
    let folio: number;
    let start: number;
    let length: number;
    try {
      folio = record.getNumber(RingLogSer.folio);
      start = record.getNumber(RingLogSer.start);
      length = record.getNumber(RingLogSer.length);
    } finally {
      kho.restoreFree(data);
    }
    const pfn = physToPfn(folio);
    if (pfnToPhys(pfn) !== folio) throw new KernelError('EINVAL', 'a ring log is no folio');
    kho.restoreFolio(pfn);
    try {
      return RingLog.from(pages, pfn, start, length);
    } catch (error) {
      pages.put(pfn);
      throw error;
    }
  }

  return {
    compatible: RING_LOG_V1,

    canPreserve: (file): file is RingLog => file instanceof RingLog && file.pages === pages,

    preserve({ file }) {
      using undo = new Undo();
      const record = kho.allocPreserve(RingLogSer.SIZE);
      undo.add(() => kho.unpreserveFree(record.pa));
      kho.preserveFolio(file.pfn);
      write(record, file);
      undo.keep();
      return { data: record.pa };
    },

    freeze({ file, data }) {
      write(kho.at(data), file); // lines were added since
      return undefined;
    },

    unpreserve({ file, data }) {
      kho.unpreserveFolio(file.pfn);
      kho.unpreserveFree(data);
    },

    retrieve: ({ data }) => take(data),

    finish({ data, retrieval }) {
      if (retrieval === 'untried') take(data).put();
    },
  };
}
