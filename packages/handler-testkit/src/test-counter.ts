/** For tests: the smallest file and its handler, to be broken in every way. */
import { layout, type StructView } from '@liveupdate/base';
import type { FileHandler } from '@liveupdate/luo-core';
import type { FileHandlerSuite, KernelParts } from './suite-options.ts';

export class Counter {
  value: number;
  references = 1;

  constructor(value = 1) {
    this.value = value;
  }

  get(): void {
    this.references += 1;
  }

  put(): void {
    this.references -= 1;
  }
}

export const CounterSer = layout('counter_ser', 8, { value: { at: 0, bytes: 8 } });

export const write = (record: StructView, { value }: Counter) => record.setU64(CounterSer.value, value);

export function counterHandler({ kho }: KernelParts): FileHandler<Counter> {
  return {
    compatible: 'counter-v1',
    canPreserve: (file): file is Counter => file instanceof Counter,
    preserve({ file }) {
      const block = kho.allocPreserve(CounterSer.SIZE);
      write(block, file);
      return { data: block.pa };
    },
    freeze({ file, data }) {
      write(kho.at(data), file);
      return undefined;
    },
    unpreserve: ({ data }) => kho.unpreserveFree(data),
    retrieve({ data }) {
      const value = kho.at(data).getU64(CounterSer.value);
      kho.restoreFree(data);
      return new Counter(Number(value));
    },
    finish({ data, retrieval }) {
      if (retrieval === 'untried') kho.restoreFree(data);
    },
  };
}

export const counterFiles: Omit<FileHandlerSuite<Counter>, 'test' | 'handler'> = {
  make: () => new Counter(),
  change(file) {
    file.value += 1;
  },
  same: (actual, expected) => actual.value === expected.value,
};
