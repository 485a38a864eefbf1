/** Faults of test-faults.ts that are about memory: what may be done with it, and when. */
import { KernelError } from '@liveupdate/base';
import { counters, sheets, type Fault } from './test-broken.ts';
import { Counter, CounterSer, write } from './test-counter.ts';
import { Sheets, takeSheets } from './test-sheets.ts';

/** Where a handler keeps what it should keep in memory. */
const remembered = new Map<bigint, number>();

export const memoryFaults: readonly Fault[] = [
  {
    fault: 'preserve goes on after its promise is resolved',
    test: 'nothing goes on after a callback has ended',
    message:
      "handler 'counter-v1': preserve() goes on working after it has ended, and after its promise was resolved: it writes into 1 page at 0x…",
    define: counters(({ kho }) => ({
      // eslint-disable-next-line @typescript-eslint/require-await -- what is wrong is that it does not wait
      async preserve({ file }) {
        const block = kho.allocPreserve(CounterSer.SIZE);
        setTimeout(() => {
          write(block, file);
        }, 1);
        return { data: block.pa };
      },
    })),
  },
  {
    fault: 'retrieve takes pages in another order than they were written in',
    test: 'pages are taken as they were written, wherever they lie',
    message:
      "handler 'sheets-v1': retrieve() takes pages in another order than they were written in, where they do not lie side by side (18 pages at 0x…, 0x…, 0x…, ...): same() says no",
    define: sheets(({ kho, pages }) => ({
      retrieve: ({ data }) =>
        new Sheets(
          pages,
          takeSheets(kho, data, (pfns) => pfns.toSorted((a, b) => a - b)),
        ),
    })),
  },
  {
    fault: 'retrieve writes into what it was handed',
    test: 'until the handover is consumed, what was handed over stays as it is',
    message:
      "handler 'counter-v1': retrieve() writes into 1 page at 0x… that it was handed, before the handover is consumed: should this process die now, the next one boots from it (see kho.whenCommitted)",
    define: counters(({ kho }, handler) => ({
      async retrieve(context) {
        const file = await handler.retrieve(context);
        new Uint8Array(kho.ram.bytes(Number(context.data), CounterSer.SIZE)).fill(0);
        kho.ram.bytes(Number(context.data), CounterSer.SIZE).fill(0xff); // 'taken'
        return file;
      },
    })),
  },
  {
    fault: 'preserve writes into what was handed over',
    test: 'until the handover is consumed, what was handed over stays as it is',
    message:
      "handler 'sheets-v1': preserve() writes into 9 pages at 0x…, 0x…, 0x…, ... that it was handed, before the handover is consumed: should this process die now, the next one boots from it (see kho.whenCommitted)",
    define: sheets(({ pages }, handler) => ({
      preserve(context) {
        for (const pfn of context.file.pfns) pages.folioBytes(pfn)[8] += 1; // how often it was
        return handler.preserve(context);
      },
    })),
  },
  {
    fault: 'retrieve gives a file that goes on reading what it freed',
    test: 'nobody uses memory that is free',
    message:
      "handler 'counter-v1': retrieve() leaves a file that reads memory which is free (1 page at 0x… freed by its callbacks): it is another one when that memory is written",
    define: counters(({ kho }) => ({
      retrieve({ data }) {
        const record = kho.at(data);
        record.getU64(CounterSer.value);
        kho.restoreFree(data);
        const counter = new Counter();
        return Object.defineProperty(counter, 'value', {
          get: () => Number(record.getU64(CounterSer.value)),
          set: (value: number) => {
            record.setU64(CounterSer.value, value);
          },
        });
      },
    })),
  },
  {
    fault: 'retrieve gives what the process remembers',
    test: 'what arrives is in memory, and nowhere else in this process',
    message:
      "handler 'counter-v1': retrieve() gives what this process remembers for data 0x…, of another handover: the next generation is another process, and has the preserved pages and data alone",
    define: counters((_, handler) => ({
      async freeze(context) {
        remembered.set(context.data, context.file.value);
        return handler.freeze?.(context);
      },
      async retrieve(context) {
        const file = await handler.retrieve(context);
        file.value = remembered.get(context.data) ?? file.value;
        return file;
      },
    })),
  },
  {
    fault: 'finish drops a reference of the file',
    test: 'a retrieved file keeps the references of its users',
    message:
      "handler 'counter-v1': finish() drops a reference too many of the file: put() without get() (LUO drops its own after it)",
    define: counters((_, handler) => ({
      finish(context) {
        context.file?.put();
        return handler.finish(context);
      },
    })),
  },
  {
    fault: 'canFinish frees what nobody retrieved',
    test: 'a finish that is refused changes nothing',
    message:
      "handler 'counter-v1': canFinish() takes 1 page at 0x… of the previous kernel: it must only look, another file may refuse to be finished",
    define: counters(({ kho }) => ({
      canFinish({ data, retrieval }) {
        if (retrieval === 'untried') kho.restoreFree(data);
        return true;
      },
      finish: () => undefined,
    })),
  },
  {
    fault: 'finish frees again after a retrieve that failed',
    test: 'a record that is cut short or overwritten does no harm',
    message:
      "handler 'counter-v1': finish() frees 1 page at 0x… again after a retrieve() that failed: that has let go of everything, and finish() has nothing to free where retrieval is 'failed' (met with ones in the page at 0x…)",
    define: counters(({ kho }, handler) => ({
      async retrieve(context) {
        const file = await handler.retrieve(context);
        if (file.value > 2 ** 53) throw new KernelError('EINVAL', 'no counter counts so far');
        return file;
      },
      finish({ data, retrieval }) {
        if (retrieval !== 'done') kho.restoreFree(data);
      },
    })),
  },
];
