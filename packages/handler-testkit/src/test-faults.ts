/**
 * Handlers with one fault each, for the tests: what is wrong, the test of the suite that finds it
 * first, and what that says. The README shows them word by word, with addresses as `0x…` and
 * numbers of frames as `…`.
 */
import { physToPfn } from '@liveupdate/base';
import type { FileLifecycleBound } from '@liveupdate/luo-core';
import { counters, rolls, sheets, type Fault } from './test-broken.ts';
import { memoryFaults } from './test-memory-faults.ts';
import { preserveAllFaults } from './test-preserve-all-faults.ts';
import type { KernelParts } from './suite-options.ts';
import { Counter, CounterSer } from './test-counter.ts';
import { Roll } from './test-roll.ts';
import { readSheets, writeSheets, type Sheets } from './test-sheets.ts';

const UNPRESERVE = 'unpreserve takes everything back, again and again';
const CALLED_OFF = 'changed before each of several handovers that are called off';
const DAMAGED = 'a record that is cut short or overwritten does no harm';

/** Memory that is taken and not given back, given back twice, or another's. */
const leaks: Fault[] = [
  {
    fault: 'preserve takes a page and forgets it',
    test: UNPRESERVE,
    message:
      "handler 'counter-v1': unpreserve() leaves 3 pages at 0x…, 0x…, 0x… in use: preserve() took them, and nobody frees them",
    define: counters(({ pages }, handler) => ({
      preserve(context) {
        pages.alloc(0);
        return handler.preserve(context);
      },
    })),
  },
  {
    fault: 'unpreserve does nothing',
    test: UNPRESERVE,
    message:
      "handler 'counter-v1': unpreserve() leaves 1 page at 0x… preserved for the next kernel: preserve() marked it, and nothing took that back",
    define: counters(() => ({ unpreserve: () => undefined })),
  },
  {
    fault: 'unpreserve takes back and does not free',
    test: UNPRESERVE,
    message:
      "handler 'counter-v1': unpreserve() leaves 3 pages at 0x…, 0x…, 0x… in use: preserve() took them, and nobody frees them",
    define: counters(({ kho }) => ({
      unpreserve: ({ data }) => kho.unpreserveFolio(physToPfn(Number(data))),
    })),
  },
  {
    fault: 'unpreserve frees twice',
    test: 'nothing goes on after a callback has ended',
    message:
      "handler 'counter-v1': unpreserve() frees a page twice: 0x… + 4096 bytes was freed by unpreserve() already",
    define: counters(({ kho }) => ({
      unpreserve({ data }) {
        kho.unpreserveFree(data);
        kho.unpreserveFree(data);
      },
    })),
  },
  {
    fault: 'finish frees what retrieve freed',
    test: 'nothing goes on after a callback has ended',
    message:
      "handler 'counter-v1': finish() frees a page twice: 0x… + 4096 bytes was freed by retrieve() already",
    define: counters(({ kho }) => ({ finish: ({ data }) => kho.restoreFree(data) })),
  },
  {
    fault: 'preserve frees what it preserved',
    test: 'nothing goes on after a callback has ended',
    message:
      "handler 'counter-v1': preserve() misuses memory: frame … (1 pages) is freed while it is preserved",
    define: counters(({ kho, pages }) => ({
      preserve({ file }) {
        const { pa } = kho.allocPreserve(file.value);
        pages.put(physToPfn(pa));
        return { data: pa };
      },
    })),
  },
  {
    fault: 'preserve keeps a reference of the file',
    test: UNPRESERVE,
    message:
      "handler 'counter-v1': unpreserve() leaves a reference too many of the file: get() without put()",
    define: counters((_, handler) => ({
      preserve(context) {
        context.file.get();
        return handler.preserve(context);
      },
    })),
  },
  {
    fault: 'retrieve takes a page and forgets it',
    test: 'files arrive as they were',
    message:
      "handler 'counter-v1': finish() leaves 3 pages at 0x…, 0x…, 0x… in use: retrieve() took them, and nobody frees them",
    define: counters(({ pages }, handler) => ({
      retrieve(context) {
        pages.get(pages.alloc(0));
        return handler.retrieve(context);
      },
    })),
  },
  {
    fault: 'finish does nothing where nobody retrieved the file',
    test: 'what nobody retrieves is freed by finish',
    message:
      "handler 'counter-v1': finish() leaves 3 pages at 0x…, 0x…, 0x… of the previous kernel that nobody restored or freed: preserve() marked them, though nobody retrieved the file",
    define: counters(() => ({ finish: () => undefined })),
  },
  {
    fault: 'preserve is not undone where an allocation fails',
    test: 'each allocation of preserve fails once',
    message:
      "handler 'counter-v1': preserve() leaves 1 page at 0x… in use: preserve() took it, and nobody frees it when allocation 2 fails",
    define: counters(({ pages }, handler) => ({
      preserve(context) {
        const page = pages.alloc(0);
        const done = handler.preserve(context);
        pages.put(page);
        return done;
      },
    })),
  },
];

/** A file that changes while it is preserved, and handovers that are called off. */
const changes: Fault[] = [
  {
    fault: 'preserve keeps the file from being worked on',
    test: 'what is changed after preserve arrives, or is refused',
    message:
      "handler 'counter-v1': preserve() lets change() fail (TypeError: Cannot assign to read only property 'value' of object '#<Counter>') while the file is preserved: work on it must go on, or be refused with a KernelError",
    define: counters((_, handler) => ({
      preserve(context) {
        Object.defineProperty(context.file, 'value', { writable: false });
        return handler.preserve(context);
      },
      unpreserve(context) {
        Object.defineProperty(context.file, 'value', { writable: true });
        return handler.unpreserve(context);
      },
    })),
  },
  {
    fault: 'freeze does not record what changed since preserve',
    test: 'what is changed after preserve arrives, or is refused',
    message:
      "handler 'counter-v1': freeze() loses what was changed after preserve(): it must record the file as it is at the handover",
    define: counters(() => ({ freeze: () => undefined })),
  },
  {
    fault: 'freeze preserves pages, and the next freeze again',
    test: CALLED_OFF,
    message:
      "handler 'sheets-v1': freeze() throws where nothing is wrong: EEXIST: frame … is preserved already, in a handover after one that was called off: freeze() and unfreeze() must leave a file that can be frozen again",
    define: sheets(({ kho }, handler) => {
      const before = new WeakMap<Sheets, number>();
      return {
        preserve(context) {
          before.set(context.file, context.file.pfns.length);
          return handler.preserve(context);
        },
        freeze({ file, data }) {
          for (const pfn of file.pfns.slice(before.get(file))) kho.preserveFolio(pfn);
          writeSheets(kho.at(data), file.pfns);
          return undefined;
        },
      };
    }),
  },
  {
    fault: 'freeze preserves pages, and unpreserve forgets them',
    test: CALLED_OFF,
    message:
      "handler 'sheets-v1': unpreserve() leaves 7 pages at 0x…, 0x…, 0x…, ... preserved for the next kernel: freeze() marked them, and nothing took that back, where the file was changed after a handover that was called off",
    define: sheets(({ kho }, handler) => {
      const before = new WeakMap<Sheets, number>();
      return {
        preserve(context) {
          before.set(context.file, context.file.pfns.length);
          return handler.preserve(context);
        },
        unpreserve({ file, data }) {
          kho.unpreserveFolios(Uint32Array.from(file.pfns.slice(0, before.get(file))));
          kho.unpreserveFree(data);
        },
      };
    }),
  },
  {
    fault: 'freeze locks the file, and there is no unfreeze',
    test: CALLED_OFF,
    message:
      "handler 'sheets-v1': freeze() keeps the file from being changed after a handover that was called off: unfreeze() must take back what freeze() did (EPERM: the sheets are locked)",
    define: sheets((_, handler) => ({
      freeze(context) {
        context.file.isLocked = true;
        return handler.freeze?.(context);
      },
    })),
  },
  {
    fault: 'freeze is not undone where an allocation fails',
    test: 'each allocation of freeze fails once',
    message:
      "handler 'sheets-v1': freeze() leaves 1 page at 0x… preserved for the next kernel: freeze() marked it, and nothing took that back when allocation 1 fails",
    define: sheets(({ kho, pages }) => ({
      freeze({ file, data }) {
        const record = kho.at(data);
        kho.preserveFolios(Uint32Array.from(file.pfns.slice(readSheets(record).length)));
        pages.put(pages.alloc(0)); // room for something
        writeSheets(record, file.pfns);
        return undefined;
      },
    })),
  },
  {
    fault: 'unfreeze takes the file back to what it was at preserve',
    test: CALLED_OFF,
    message:
      "handler 'counter-v1': unfreeze() leaves the file other than it was after a handover that was called off: same() says no",
    define: counters((_, handler) => {
      const before = new WeakMap<Counter, number>();
      return {
        preserve(context) {
          before.set(context.file, context.file.value);
          return handler.preserve(context);
        },
        unfreeze({ file }) {
          file.value = before.get(file)!;
        },
      };
    }),
  },
  {
    fault: 'unpreserve goes by the file as it is now',
    test: 'unpreserve takes back what was preserved, whatever was changed since',
    message: "handler 'sheets-v1': unpreserve() misuses memory: frame … is not preserved",
    define: sheets(({ kho }) => ({
      unpreserve({ file, data }) {
        kho.unpreserveFolios(Uint32Array.from(file.pfns));
        kho.unpreserveFree(data);
      },
    })),
  },
];

/** Records that are not right, and answers that are not. */
const rules: Fault[] = [
  {
    fault: 'retrieve believes every number',
    test: 'a record that lacks a page is refused',
    message:
      "handler 'counter-v1': retrieve() makes a file from a file whose page at 0x… is another's already: it must refuse it with a KernelError",
    define: counters(({ kho, ram }) => ({
      retrieve({ data }) {
        const value = new DataView(ram.bytes(Number(data), 8).slice().buffer).getBigUint64(0, true);
        if (kho.isIncoming(physToPfn(Number(data)))) kho.restoreFree(data);
        return new Counter(Number(value));
      },
    })),
  },
  {
    fault: 'retrieve crashes on what it reads',
    test: DAMAGED,
    message:
      "handler 'counter-v1': retrieve() crashes on ones in the page at 0x…: RangeError: Invalid typed array length: 18446744073709552000",
    define: counters((_, handler) => ({
      async retrieve(context) {
        const file = await handler.retrieve(context);
        new Uint8Array(file.value); // as long as the record says
        return file;
      },
    })),
  },
  {
    fault: 'canPreserve takes anything',
    test: 'the handler takes its files, and no others',
    message:
      "handler 'counter-v1': canPreserve() says true to an object that is none of its files: it must say false",
    define: counters(() => ({ canPreserve: (file): file is Counter => typeof file === 'object' })),
  },
  {
    fault: 'getId gives each file two ids',
    test: 'a file that is preserved already is refused',
    message:
      "handler 'counter-v1': getId() gives one file two ids: preserving it twice must end with EBUSY, not success",
    define: counters(() => ({ getId: () => Symbol() })),
  },
  {
    fault: 'preserve returns nothing',
    test: 'nothing goes on after a callback has ended',
    message: "handler 'counter-v1': preserve() must return { data }, and returned undefined",
    define: counters(() => ({ preserve: () => undefined as unknown as { data: number } })),
  },
  {
    fault: 'preserve never ends',
    test: 'nothing goes on after a callback has ended',
    message: "handler 'counter-v1': preserve() must end within 500 ms, and has not",
    define: counters(() => ({ preserve: () => new Promise<never>(() => undefined) })),
  },
  {
    fault: 'alsoReads names a format that nobody shows',
    test: 'every older format that it declares to read is shown',
    message:
      "handler 'counter-v1': retrieve() declares to read 'counter-v0': give the suite the handler that wrote it (older)",
    define: counters(() => ({ alsoReads: ['counter-v0'] })),
  },
];

/** An FLB whose every generation has a roll of its own. */
export function beginsAnew({ kho }: KernelParts): Partial<FileLifecycleBound<Roll>> {
  return {
    preserve() {
      const block = kho.allocPreserve(CounterSer.SIZE);
      const object = new Roll();
      object.record = block;
      return { data: block.pa, object };
    },
  };
}

/** State that files share. */
const flbs: Fault[] = [
  {
    fault: "an FLB's unpreserve does nothing",
    test: UNPRESERVE,
    message:
      "FLB 'roll-v1': unpreserve() leaves 1 page at 0x… preserved for the next kernel: preserve() marked it, and nothing took that back",
    define: rolls(() => ({ unpreserve: () => undefined })),
  },
  {
    fault: "an FLB's preserve takes a page and forgets it",
    test: UNPRESERVE,
    message:
      "FLB 'roll-v1': unpreserve() leaves 3 pages at 0x…, 0x…, 0x… in use: preserve() took them, and nobody frees them",
    define: rolls(({ pages }, flb) => ({
      preserve(context) {
        pages.alloc(0);
        return flb.preserve(context);
      },
    })),
  },
  {
    fault: "an FLB's preserve takes a reference of a page and forgets it",
    test: UNPRESERVE,
    message:
      "FLB 'roll-v1': unpreserve() leaves a reference too many on 1 page at 0x…: preserve() took it, and nobody drops it",
    define: rolls(({ pages }, flb) => {
      const shared = pages.alloc(0); // of all rolls of this kernel
      return {
        preserve(context) {
          pages.get(shared);
          return flb.preserve(context);
        },
      };
    }),
  },
  {
    fault: "an FLB's finish forgets what its retrieve left",
    test: 'files arrive as they were',
    message:
      "FLB 'roll-v1': finish() leaves 1 page at 0x… of the previous kernel that nobody restored or freed: preserve() marked it",
    define: rolls(({ kho }) => ({
      retrieve: ({ data }) => new Roll(kho.at(data).getNumber(CounterSer.value)),
    })),
  },
  {
    fault: "an FLB's state changes, and its memory does not",
    test: 'its state arrives, whenever it is asked for',
    message:
      "FLB 'roll-v1': retrieve() gives another state than there was at the handover: same() says no. An FLB has no freeze: what changes after its preserve() must be written to its memory as it changes, or by the freeze() of a handler (1 page at 0x…)",
    define: rolls((_, flb) => ({
      async preserve(context) {
        const preserved = await flb.preserve(context);
        preserved.object.record = undefined;
        return preserved;
      },
    })),
  },
  {
    fault: "an FLB's preserve begins anew in the second generation",
    test: 'its state lives on in a second generation',
    message:
      "FLB 'roll-v1': preserve() begins anew in the second generation, and loses the state that arrived: it must go on with what incoming() of its context gives, or say goesOn: false (1 page at 0x…)",
    define: rolls(beginsAnew),
  },
];

/** What only a kernel that dies brings to light. */
const deaths: Fault[] = [
  {
    fault: 'retrieve wipes the record, once the handover is consumed',
    test: 'a kernel that dies with files that came leaves them, or nothing',
    message:
      "handler 'counter-v1': retrieve() leaves a file that is not as it was, where the kernel dies while it retrieves: same() says no",
    define: counters(({ kho }) => ({
      retrieve({ data }) {
        const record = kho.at(data);
        const value = record.getNumber(CounterSer.value);
        kho.whenCommitted(() => {
          record.setU64(CounterSer.value, 0);
        });
        kho.restoreFree(data);
        return new Counter(value);
      },
    })),
  },
  {
    fault: 'checkpoint leaves the record wrong while it waits',
    test: 'a kernel that dies while it hands over leaves its files',
    message:
      "handler 'counter-v1': checkpoint() leaves a file that is not as it was, where the kernel dies in a checkpoint: same() says no",
    define: counters(({ kho }) => ({
      async checkpoint({ file, data }) {
        const record = kho.at(data);
        record.setU64(CounterSer.value, 0);
        await Promise.resolve();
        record.setU64(CounterSer.value, file.value);
        return undefined;
      },
    })),
  },
];

export const faults: readonly Fault[] = [
  ...leaks,
  ...changes,
  ...memoryFaults,
  ...rules,
  ...flbs,
  ...deaths,
  ...preserveAllFaults,
];
