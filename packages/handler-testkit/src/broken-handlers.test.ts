/**
 * Handlers that are broken on purpose: the suite must fail, and say in plain words what is wrong
 * and where.
 */
import { physToPfn } from '@liveupdate/base';
import type { FileHandler, FileLifecycleBound } from '@liveupdate/luo-core';
import { expect, test } from 'vitest';
import { HandlerFault, testFileHandler, type KernelParts } from './index.ts';
import { Counter, counterFiles, counterHandler } from './test-counter.ts';

type Broken = (parts: KernelParts, handler: FileHandler<Counter>) => Partial<FileHandler<Counter>>;

/**
 * What the suite says of the counter handler with some callbacks replaced: the message of each test
 * that fails, by its name.
 *
 * @param only the one test to run
 * @param how what is given replaces some of its callbacks, or is a handler of its own
 */
async function failuresOf(
  broken: Broken,
  only?: string,
  how: 'over the counter handler' | 'alone' = 'over the counter handler',
): Promise<Map<string, string>> {
  const tests: [string, () => Promise<void>][] = [];
  testFileHandler({
    ...counterFiles,
    timeLimit: 300,
    test: {
      describe: (_, define) => define(),
      it: (name, run) => tests.push([name, run]),
    },
    handler: (parts) => {
      const handler = counterHandler(parts);
      const replaced = broken(parts, handler);
      return how === 'alone' ? (replaced as FileHandler<Counter>) : { ...handler, ...replaced };
    },
  });
  const failures = new Map<string, string>();
  for (const [name, run] of tests) {
    if (only !== undefined && name !== only) continue;
    try {
      await run();
    } catch (error) {
      failures.set(name, error instanceof HandlerFault ? error.message : `not in words: ${String(error)}`);
    }
  }
  return failures;
}

const UNPRESERVE = 'unpreserve takes everything back, again and again';

const handlers: [string, Broken, test: string, message: RegExp][] = [
  [
    'leaks a page',
    ({ pages }, handler) => ({
      preserve(context) {
        pages.alloc(0); // room for something, and forgotten
        return handler.preserve(context);
      },
    }),
    UNPRESERVE,
    /^handler 'counter-v1': unpreserve\(\) leaves 3 pages at 0x\w+, 0x\w+, 0x\w+ in use: preserve\(\) took them, and nobody frees them$/,
  ],
  [
    'forgets the inverse in unpreserve',
    () => ({ unpreserve: () => undefined }),
    UNPRESERVE,
    /^handler 'counter-v1': unpreserve\(\) leaves 1 page at 0x\w+ preserved for the next kernel: preserve\(\) marked it, and nothing took that back/,
  ],
  [
    'frees twice',
    ({ kho }) => ({
      unpreserve({ data }) {
        kho.unpreserveFree(data);
        kho.unpreserveFree(data);
      },
    }),
    UNPRESERVE,
    /^handler 'counter-v1': unpreserve\(\) frees a page twice: 0x\w+ \+ 4096 bytes was freed by unpreserve\(\) already$/,
  ],
  [
    'frees twice in the next kernel, in two callbacks',
    ({ kho }) => ({ finish: ({ data }) => kho.restoreFree(data) }),
    'files arrive as they were',
    /^handler 'counter-v1': finish\(\) frees a page twice: 0x\w+ \+ 4096 bytes was freed by retrieve\(\) already$/,
  ],
  [
    'frees what is preserved',
    ({ kho, pages }) => ({
      preserve({ file }) {
        const { pa } = kho.allocPreserve(file.value);
        pages.put(physToPfn(pa));
        return { data: pa };
      },
    }),
    UNPRESERVE,
    /^handler 'counter-v1': preserve\(\) misuses memory: frame \d+ .* is freed while it is preserved$/,
  ],
  [
    'takes back and does not free',
    ({ kho }) => ({ unpreserve: ({ data }) => kho.unpreserveFolio(physToPfn(Number(data))) }),
    UNPRESERVE,
    /unpreserve\(\) leaves 3 pages at .* in use: preserve\(\) took them/,
  ],
  [
    'keeps a reference of the file',
    (_, handler) => ({
      preserve(context) {
        context.file.get();
        return handler.preserve(context);
      },
    }),
    UNPRESERVE,
    /^handler 'counter-v1': unpreserve\(\) leaves a reference too many of the file: get\(\) without put\(\)$/,
  ],
  [
    'keeps a page that it retrieves into',
    ({ pages }, handler) => ({
      retrieve(context) {
        pages.get(pages.alloc(0));
        return handler.retrieve(context);
      },
    }),
    'files arrive as they were',
    /finish\(\) leaves 3 pages at .* in use: retrieve\(\) took them/,
  ],
  [
    'records only what was there at preserve',
    () => ({ freeze: () => undefined }),
    'what is changed after preserve arrives, or is refused',
    /freeze\(\) loses what was changed after preserve\(\)/,
  ],
  [
    'forgets the record where nobody retrieves the file',
    () => ({ finish: () => undefined }),
    'what nobody retrieves is freed by finish',
    /finish\(\) leaves 3 pages at .* of the previous kernel that nobody restored or freed, though nobody retrieved the file/,
  ],
  [
    'is not undone when an allocation fails',
    ({ pages }, handler) => ({
      preserve(context) {
        const page = pages.alloc(0);
        const done = handler.preserve(context);
        pages.put(page);
        return done;
      },
    }),
    'each allocation of preserve fails once',
    /preserve\(\) leaves 1 page at 0x\w+ in use: preserve\(\) took it, and nobody frees it when allocation 2 fails/,
  ],
  [
    'believes every number',
    ({ kho, ram }) => ({
      retrieve({ data }) {
        const value = new DataView(ram.bytes(Number(data), 8).slice().buffer).getBigUint64(0, true);
        if (kho.isIncoming(physToPfn(Number(data)))) kho.restoreFree(data);
        return new Counter(Number(value));
      },
    }),
    'a number that names no record is refused',
    /retrieve\(\) makes a file from data 0: it must refuse it with a KernelError/,
  ],
  [
    'crashes on what it reads',
    (_, handler) => ({
      async retrieve(context) {
        const file = await handler.retrieve(context);
        new Uint8Array(file.value); // as long as the record says
        return file;
      },
    }),
    'a record that is cut short or overwritten does no harm',
    /retrieve\(\) crashes on .* in the page at 0x\w+: RangeError: /,
  ],
  [
    'takes anything',
    () => ({ canPreserve: (file): file is Counter => typeof file === 'object' }),
    'the handler takes its files, and no others',
    /canPreserve\(\) says true to an object that is none of its files: it must say false/,
  ],
  [
    'gives each file two ids',
    () => ({ getId: () => Symbol() }),
    'a file that is preserved already is refused',
    /getId\(\) gives one file two ids: preserving it twice must end with EBUSY, not success/,
  ],
  [
    'returns nothing from preserve',
    () => ({ preserve: () => undefined as unknown as { data: number } }),
    'files arrive as they were',
    /^handler 'counter-v1': preserve\(\) .* must return \{ data \}, and returned undefined$/,
  ],
  [
    'never ends',
    () => ({ unpreserve: () => new Promise<void>(() => undefined) }),
    UNPRESERVE,
    /^handler 'counter-v1': unpreserve\(\) .* must end within 300 ms, and has not$/,
  ],
  [
    'declares an older format that nobody shows',
    () => ({ alsoReads: ['counter-v0'] }),
    'every older format that it declares to read is shown',
    /retrieve\(\) declares to read 'counter-v0': give the suite the handler that wrote it/,
  ],
];

test.each(handlers)('a handler that %s', async (_, broken, name, message) => {
  const failures = await failuresOf(broken, name);
  expect(failures.get(name)).toMatch(message);
});

test.each(handlers.slice(0, 3))('every failure of a handler that %s names a callback', async (_, broken) => {
  const failures = [...(await failuresOf(broken)).values()];
  expect(failures.length).toBeGreaterThan(1);
  for (const failure of failures) expect(failure).toMatch(/^handler 'counter-v1': \w+\(\) /);
});

test('the handler that is not broken passes', async () => {
  expect(await failuresOf(() => ({}))).toEqual(new Map());
});

test.for<[what: string, flb: (parts: KernelParts) => FileLifecycleBound]>([
  [
    'without memory',
    () => ({
      compatible: 'flb-v1',
      preserve: () => ({ data: 1, object: {} }),
      unpreserve: () => undefined,
      retrieve: () => ({}),
      finish: () => undefined,
    }),
  ],
  [
    'with a page of its own',
    ({ kho }) => ({
      compatible: 'flb-v1',
      preserve: () => ({ data: kho.allocPreserve(8).pa, object: {} }),
      unpreserve: ({ data }) => kho.unpreserveFree(data),
      retrieve: ({ data }) => kho.at(data),
      finish: ({ data }) => kho.restoreFree(data),
    }),
  ],
])('so it does with an FLB %s', async ([, flb]) => {
  expect(await failuresOf((parts) => ({ flbs: [flb(parts)] }))).toEqual(new Map());
});

test('a handler may be an object of a class, with members that only it can reach', async () => {
  class CounterHandler implements FileHandler<Counter> {
    readonly compatible = 'counter-v1';
    readonly #inner: FileHandler<Counter>;
    constructor(parts: KernelParts) {
      this.#inner = counterHandler(parts);
    }
    canPreserve(file: object): file is Counter {
      return this.#inner.canPreserve(file);
    }
    preserve(context: Parameters<FileHandler<Counter>['preserve']>[0]) {
      return this.#inner.preserve(context);
    }
    freeze(context: Parameters<NonNullable<FileHandler<Counter>['freeze']>>[0]) {
      return this.#inner.freeze?.(context);
    }
    unpreserve(context: Parameters<FileHandler<Counter>['unpreserve']>[0]) {
      return this.#inner.unpreserve(context);
    }
    retrieve(context: Parameters<FileHandler<Counter>['retrieve']>[0]) {
      return this.#inner.retrieve(context);
    }
    finish(context: Parameters<FileHandler<Counter>['finish']>[0]) {
      return this.#inner.finish(context);
    }
  }
  expect(await failuresOf((parts) => new CounterHandler(parts), undefined, 'alone')).toEqual(new Map());
});
