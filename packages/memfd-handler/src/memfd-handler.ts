/**
 * The memfd file handler: in-memory files that survive, nothing copied (kernel: mm/memfd_luo.c).
 *
 * preserve: freeze the file's size, pin its folios, mark them, list them in an array. The owner
 * goes on reading and overwriting. retrieve: the same pages in a new file. finish without retrieve:
 * all of them freed. Each failure gives back what was taken, in reverse.
 */
import { checkInstance, isInstance, KernelError, physToPfn } from '@liveupdate/base';
import type { Kho } from '@liveupdate/kho';
import type { FileHandler, OutgoingContext } from '@liveupdate/luo-core';
import { FolioRuns } from '@liveupdate/mm';
import { MFD_ALLOW_SEALING, ShmemFile, type Shmem } from '@liveupdate/shmem';
import { MEMFD_V1, MEMFD_V2, MemfdV2Ser } from './abi.ts';
import { discardMemfd, takeMemfd } from './incoming.ts';
import { recordMemory } from './outgoing.ts';
import { preserveMany, preserveOne } from './preserve.ts';

export interface MemfdHandlerInit {
  readonly kho: Kho;
  /** The mount that files are retrieved into, and whose files are taken. */
  readonly shmem: Shmem;
}

/**
 * The handler for memfd-v2, which also reads memfd-v1. It keeps nothing of a preserved file: its
 * folios stay the same while it is frozen, and all else is in the record.
 */
export function memfdHandler(init: MemfdHandlerInit): FileHandler<ShmemFile> {
  checkInstance<object>(init, 'what a memfd handler needs', Object);
  const { kho, shmem } = init;
  checkInstance<object>(kho, 'a KHO', Object);
  checkInstance<object>(shmem, 'a mount', Object);
  const { pages } = kho;
  /** Used for one file after the other. */
  const found = new FolioRuns();

  /**
   * Position and seals as they are now, each a word of its own: Linux 7.3 looks at the position
   * alone. Contents are in place, size and pages are frozen.
   */
  const noteState = ({ file, data }: OutgoingContext<ShmemFile>): undefined => {
    const record = kho.recordAt(data);
    record.setU64(MemfdV2Ser.position, BigInt(file.position)); // in one store
    record.setU32(MemfdV2Ser.seals, file.inode.seals);
  };

  return {
    compatible: MEMFD_V2,
    alsoReads: [MEMFD_V1],

    canPreserve: (file): file is ShmemFile =>
      isInstance(file, ShmemFile) && file.inode.shmem === shmem && file.inode.links === 0,

    getId: (file) => file.inode,

    preserve: ({ file }) => ({ data: preserveOne(kho, file, found) }),

    preserveAll: ({ files }) => preserveMany(kho, files, found),

    freeze: noteState,

    checkpoint: noteState,

    unpreserve({ file, data }) {
      const { inode } = file;
      if (!inode.isFrozen) throw new KernelError('EINVAL', `${inode.title} is not preserved`);
      kho.unpreserveFreePages(recordMemory(kho.words, physToPfn(Number(data))));
      const folios = inode.folios(found);
      kho.unpreserveRows(folios.rows);
      inode.unpin(folios);
      inode.thaw();
    },

    retrieve({ data, compatible }) {
      const { record, runs } = takeMemfd(kho, data, compatible);
      const file = shmem.memfdCreate('', MFD_ALLOW_SEALING);
      try {
        file.inode.adopt(runs);
      } catch (error) {
        file.close();
        pages.putRows(runs.rows());
        throw error;
      }
      file.inode.restoreState(record.size, record.seals);
      file.seek(record.position);
      return file;
    },

    finish({ data, compatible, retrieval }) {
      // A retrieval that failed has freed everything itself.
      if (retrieval === 'untried') discardMemfd(kho, data, compatible);
    },
  };
}
