/**
 * The eventfd file handler: counters that survive. A model for handlers: one record in a preserved
 * block, written by preserve and again by freeze, read and freed by retrieve, or freed by finish
 * where nobody retrieved it.
 */
import { checkObject, isInstance } from '@liveupdate/base';
import type { Kho, PreservedBlock } from '@liveupdate/kho';
import type { FileHandler } from '@liveupdate/luo-core';
import { EVENTFD_V1, EventFdSer } from './abi.ts';
import { EventFd } from './event-fd.ts';

export interface EventFdHandlerInit {
  readonly kho: Kho;
}

/**
 * The handler for eventfd-v1: the counter, semaphore mode and the non-blocking flag arrive. Who
 * waits in this kernel does not.
 */
export function eventfdHandler(init: EventFdHandlerInit): FileHandler<EventFd> {
  checkObject(init, 'what an eventfd handler needs');
  const { kho } = init;
  checkObject(kho, 'a KHO');
  return {
    compatible: EVENTFD_V1,

    canPreserve: (file): file is EventFd => isInstance(file, EventFd),

    preserve({ file }) {
      const block = kho.allocPreserve(EventFdSer.SIZE); // ENOMEM here leaves nothing to undo
      write(block, file);
      return { data: block.pa };
    },

    freeze({ file, data }) {
      write(kho.at(data), file); // it may have counted on since
      return undefined;
    },

    unpreserve({ data }) {
      kho.unpreserveFree(data);
    },

    /**
     * @throws KernelError EINVAL: no record, or a damaged one. ENOENT: not a record of the previous
     * kernel.
     */
    retrieve({ data }) {
      const block = kho.at(data);
      const count = block.getU64(EventFdSer.count);
      const flags = block.getU64(EventFdSer.flags);
      kho.restoreFree(data); // before anything may be refused: then nothing is left behind
      return new EventFd(count, Number(flags));
    },

    finish({ data, retrieval }) {
      if (retrieval === 'untried') kho.restoreFree(data);
    },
  };
}

function write(block: PreservedBlock, file: EventFd): void {
  block.setU64(EventFdSer.count, file.count);
  block.setU64(EventFdSer.flags, file.flags);
}
