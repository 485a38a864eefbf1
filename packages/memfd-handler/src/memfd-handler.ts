/**
 * The memfd file handler: in-memory files that survive, nothing copied (kernel: mm/memfd_luo.c).
 *
 * preserve: freeze the file's size, pin its folios, mark them, list them in an array. The owner goes on reading and overwriting. retrieve: the
 * same pages in a new file. finish without retrieve: all of them freed. Each failure gives back what was taken, in reverse.
 */
import { KernelError, pagesFor, Undo } from '@liveupdate/base';
import { EMPTY_VMALLOC, writeVmallocDescriptor, type Kho, type VmallocDescriptor } from '@liveupdate/kho';
import type { FileHandler } from '@liveupdate/luo-core';
import { vmalloc, type VmallocArea } from '@liveupdate/mm';
import { MFD_ALLOW_SEALING, SEAL_ALL, ShmemFile, type Shmem, type ShmemInode } from '@liveupdate/shmem';
import { MEMFD_V1, MEMFD_V2, MemfdFolioSer, MemfdV2Ser } from './abi.ts';
import { writeFolioArray } from './folio-array.ts';
import { discardMemfd, takeMemfd } from './incoming.ts';
import { MAX_MEMFD_PAGES } from './read-memfd.ts';

export interface MemfdHandlerInit {
  readonly kho: Kho;
  /** The mount that files are retrieved into, and whose files are taken. */
  readonly shmem: Shmem;
}

/** The array that preserve made, for unpreserve to give back. */
interface FolioArray {
  readonly area: VmallocArea;
  readonly descriptor: VmallocDescriptor;
}

/** What is known of a preserved file. The folios need not be kept: those of a frozen file stay the same. */
interface Preserved {
  readonly array: FolioArray | undefined;
  /** As the record has them. */
  seals: number;
}

/** The handler for memfd-v2, which also reads memfd-v1. */
export function memfdHandler({ kho, shmem }: MemfdHandlerInit): FileHandler<ShmemFile> {
  const { pages } = kho;
  const preserved = new Map<ShmemInode, Preserved>();

  /** Pins and preserves the file's folios and lists them. What was done is added to `undo`. */
  function preserveFolios(inode: ShmemInode, undo: Undo): { folios: number; array: FolioArray | undefined } {
    const pinned = inode.pin();
    const { runs } = pinned;
    undo.add(() => {
      inode.undoPin(pinned);
    });
    kho.preserveRuns(runs);
    undo.add(() => {
      kho.unpreserveRuns(runs);
    });
    if (runs.folios === 0) return { folios: 0, array: undefined };
    const area = vmalloc(pages, runs.folios * MemfdFolioSer.SIZE, 0, false);
    undo.add(() => {
      area.free();
    });
    writeFolioArray(pages.ram, area, runs);
    return { folios: runs.folios, array: { area, descriptor: kho.preserveVmalloc(area) } };
  }

  return {
    compatible: MEMFD_V2,
    alsoReads: [MEMFD_V1],

    canPreserve: (file): file is ShmemFile =>
      file instanceof ShmemFile && file.inode.shmem === shmem && file.inode.links === 0,

    getId: (file) => file.inode,

    preserve({ file }) {
      using undo = new Undo();
      const { inode } = file;
      inode.freeze();
      undo.add(() => {
        inode.thaw();
      });
      const block = kho.allocPreserve(MemfdV2Ser.SIZE);
      undo.add(() => {
        kho.unpreserveFree(block.pa);
      });
      if ((inode.seals & ~SEAL_ALL) !== 0)
        throw new KernelError('EOPNOTSUPP', `${inode.title} has seals that memfd-v2 cannot keep`);
      if (pagesFor(inode.size) > MAX_MEMFD_PAGES)
        throw new KernelError('EFBIG', `${inode.title} has more than 2^32 - 1 pages`);
      const { folios, array } = preserveFolios(inode, undo);
      block.setU64(MemfdV2Ser.position, file.position);
      block.setU64(MemfdV2Ser.size, inode.size);
      block.setU32(MemfdV2Ser.seals, inode.seals);
      block.setU32(MemfdV2Ser.flags, 0);
      block.setU64(MemfdV2Ser.folioCount, folios);
      writeVmallocDescriptor(block.slice(MemfdV2Ser.folios), array?.descriptor ?? EMPTY_VMALLOC);
      preserved.set(inode, { array, seals: inode.seals });
      undo.keep();
      return { data: block.pa };
    },

    freeze({ file, data }) {
      const { seals } = file.inode;
      const state = preserved.get(file.inode);
      const record = kho.at(data);
      // Both may have changed since; Linux 7.3 looks at the position alone. Contents are in place, size and pages are frozen.
      record.setU64(MemfdV2Ser.position, file.position);
      if (!state || state.seals === seals) return;
      record.setU32(MemfdV2Ser.seals, seals);
      state.seals = seals;
    },

    unpreserve({ file, data }) {
      const { inode } = file;
      const state = preserved.get(inode);
      if (!state) throw new KernelError('EINVAL', `${inode.title} is not preserved`);
      preserved.delete(inode);
      if (state.array) {
        kho.unpreserveVmalloc(state.array.descriptor);
        state.array.area.free();
      }
      const runs = inode.folioRuns();
      kho.unpreserveRuns(runs);
      inode.unpin({ runs });
      kho.unpreserveFree(data);
      inode.thaw();
    },

    retrieve({ data, compatible }) {
      const { record, runs } = takeMemfd(kho, data, compatible);
      const file = shmem.memfdCreate('', MFD_ALLOW_SEALING);
      try {
        file.inode.adopt(runs);
      } catch (error) {
        file.close();
        pages.putRuns(runs);
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
