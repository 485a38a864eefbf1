/**
 * Handlers that are broken on purpose: one test of the suite must fail, say in plain words what is
 * wrong and where, and all that it leaves unknown must not be judged.
 */
import { readFileSync } from 'node:fs';
import type { FileHandler, PreserveAllContext } from '@liveupdate/luo-core';
import { expect, test, vi } from 'vitest';
import { HandlerFault, testFileHandler, type FileHandlerSuite, type KernelParts } from './index.ts';
import { counterFiles, counterHandler, type Counter } from './test-counter.ts';
import { counters, rolls, sheets, type Fault } from './test-broken.ts';
import { beginsAnew, faults } from './test-faults.ts';
import { preserveAllFaults, inOneStep } from './test-preserve-all-faults.ts';
import { rollStates } from './test-roll.ts';
import { sheetsFiles, sheetsHandler, type Sheets } from './test-sheets.ts';

/** What became of each test of a suite, by its name. */
interface Outcome {
  readonly failed: Record<string, string>;
  readonly notJudged: Record<string, string>;
  readonly passed: string[];
}

/** Without the addresses, which are others each time. */
const shown = (message: string) =>
  message.replaceAll(/0x[0-9a-f]+/g, '0x…').replaceAll(/frame \d+/g, 'frame …');

/** Runs a suite as a runner would that can skip a test that has begun. */
async function outcomeOf(define: Fault['define'], only?: string): Promise<Outcome> {
  const tests: [string, (context: unknown) => Promise<void>][] = [];
  define({ describe: (_, group) => group(), it: (name, run) => tests.push([name, run]) });
  const outcome: Outcome = { failed: {}, notJudged: {}, passed: [] };
  for (const [name, run] of tests) {
    if (only !== undefined && name !== only) continue;
    const skip = (reason: string) => {
      outcome.notJudged[name] = reason;
    };
    try {
      await run({ skip });
      if (!(name in outcome.notJudged)) outcome.passed.push(name);
    } catch (error) {
      const message = error instanceof HandlerFault ? error.message : `not in words: ${String(error)}`;
      outcome.failed[name] = shown(message);
    }
  }
  return outcome;
}

test.each(faults.map((fault) => [fault.fault, fault] as const))(
  '%s: one test says so, and none fails for the same reason',
  async (_, fault) => {
    const { failed, notJudged } = await outcomeOf(fault.define);
    expect(failed).toEqual({ [fault.test]: fault.message });
    for (const reason of Object.values(notJudged))
      expect(shown(reason)).toBe(`not judged: '${fault.test}' found that ${fault.message}`);
  },
);

test.each<[only: string, define: Fault['define'], message: string]>([
  [
    'files that are preserved in one step are taken back one by one',
    sheets((_, handler) => ({
      preserveAll(context) {
        context.files[1].get();
        return inOneStep(handler, context);
      },
    })),
    "handler 'sheets-v1': preserveAll() leaves a reference too many of the file: get() without put()",
  ],
  [
    'files that are preserved in one step are taken back one by one',
    sheets(({ kho }, handler) => ({
      async preserveAll(context) {
        const saved = await inOneStep(handler, context);
        setTimeout(() => kho.at(saved[0].data).bytes.fill(0), 1);
        return saved;
      },
    })),
    "handler 'sheets-v1': preserveAll() goes on working after it has ended, and after its promise was resolved: it writes into 1 page at 0x…",
  ],
  [
    'a list with a file that is refused leaves nothing',
    sheets((_, handler) => ({
      getId: () => Symbol(),
      preserveAll: (context) => inOneStep(handler, context),
    })),
    "handler 'sheets-v1': getId() lets session.preserveAll() end with EEXIST, not EBUSY, where the list has a file that is there twice",
  ],
  [
    'a list with a file that is refused leaves nothing',
    sheets(({ pages }, handler) => ({
      getId: (file) => {
        pages.alloc(0);
        return file;
      },
      preserveAll: (context) => inOneStep(handler, context),
    })),
    "handler 'sheets-v1': preserveAll() leaves 17 pages at 0x…, 0x…, 0x…, ... in use: getId() took them, and nobody frees them when its files are unpreserved",
  ],
  [
    'each callback fails once, with files that are preserved in one step',
    preserveAllFaults.at(-1)!.define,
    "handler 'sheets-v1': preserveAll() throws where nothing is wrong: EBUSY: saved already",
  ],
])('%s, run alone: it says so too', async (only, define, message) => {
  expect((await outcomeOf(define, only)).failed).toEqual({ [only]: message });
});

test('the README has a table of them', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const rows = [...readme.matchAll(/^\| (.*?) +\| `(.*?)` +\| `(.*?)` +\|$/gm)].map((row) => row.slice(1));
  expect(rows).toEqual(faults.map(({ fault, test, message }) => [fault, test, message]));
});

test.for<[what: string, define: Fault['define']]>([
  ['the counter handler', counters(() => ({}))],
  [
    'one whose files grow',
    (test) => {
      testFileHandler({ ...sheetsFiles, test, handler: sheetsHandler });
    },
  ],
  [
    'one whose files move when they change, and refuse that while they are preserved',
    (test) => {
      const handler = (parts: KernelParts): FileHandler<Sheets> => {
        const unlocked = sheetsHandler(parts);
        return {
          ...unlocked,
          async preserve(context) {
            const preserved = await unlocked.preserve(context);
            context.file.isLocked = true;
            return preserved;
          },
          async unpreserve(context) {
            await unlocked.unpreserve(context);
            context.file.isLocked = false;
          },
        };
      };
      const change = (file: Sheets) => {
        file.move();
        file.add();
      };
      testFileHandler({ ...sheetsFiles, test, handler, change });
    },
  ],
  [
    'one that preserves many files in one step',
    sheets((_, handler) => ({ preserveAll: (context) => inOneStep(handler, context) })),
  ],
  ['one with an FLB whose state is compared', rolls(() => ({}))],
  [
    'one with an FLB that begins anew, where the suite is told so',
    rolls(beginsAnew, { 'roll-v1': { ...rollStates['roll-v1'], goesOn: false } }),
  ],
  [
    'one with an FLB without memory',
    counters(() => ({
      flbs: [
        {
          compatible: 'flb-v1',
          preserve: () => ({ data: 1, object: {} }),
          unpreserve: () => undefined,
          retrieve: () => ({}),
          finish: () => undefined,
        },
      ],
    })),
  ],
  [
    'one with an FLB whose page stays until finish',
    counters(({ kho }) => ({
      flbs: [
        {
          compatible: 'flb-v1',
          preserve: () => ({ data: kho.allocPreserve(8).pa, object: {} }),
          unpreserve: ({ data }) => kho.unpreserveFree(data),
          retrieve: ({ data }) => kho.at(data),
          finish: ({ data }) => kho.restoreFree(data),
        },
      ],
    })),
  ],
])('%s is not broken: all pass', async ([, define]) => {
  const { failed, notJudged, passed } = await outcomeOf(define);
  expect([failed, notJudged]).toEqual([{}, {}]);
  expect(passed.length).toBeGreaterThan(25);
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
    preserveAll(context: PreserveAllContext<Counter>) {
      return inOneStep(this.#inner, context);
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
  const { failed, notJudged } = await outcomeOf((test) => {
    testFileHandler({ ...counterFiles, test, handler: (parts) => new CounterHandler(parts) });
  });
  expect([failed, notJudged]).toEqual([{}, {}]);
});

const SUBJECT = 'make, change and same are as the suite needs them';

/** What an author may get wrong, and what the one test that fails says. */
const wrongSuites: [string, Partial<FileHandlerSuite<Counter>>, message: string][] = [
  [
    'change changes nothing',
    { change: () => undefined },
    "the suite's own same() calls a file changed 0 times and one changed 1 times equal: mend make, change or same",
  ],
  [
    'same says no',
    { same: () => false },
    "the suite's own same() calls a file changed 0 times and one changed 0 times different: mend make, change or same",
  ],
  [
    'make throws',
    {
      make() {
        throw new RangeError('no more of them');
      },
    },
    "the suite's own make() throws, before anything is preserved: no more of them",
  ],
  [
    'change never ends',
    { change: () => new Promise(() => undefined), timeLimit: 100 },
    "the suite's own change() has not ended within 100 ms",
  ],
];

test.each(wrongSuites)(
  'where %s, one test fails, and the handler is not judged',
  async (_, wrong, message) => {
    const define: Fault['define'] = (test) => {
      testFileHandler({ ...counterFiles, test, handler: counterHandler, ...wrong });
    };
    const { failed, notJudged, passed } = await outcomeOf(define);
    expect([failed, passed]).toEqual([{ [SUBJECT]: `not in words: Error: ${message}` }, []]);
    for (const reason of Object.values(notJudged)) expect(reason).toContain(message);
    // Whoever runs another test alone is told all the same.
    const name = 'files arrive as they were';
    expect((await outcomeOf(define, name)).failed).toEqual({ [name]: `not in words: Error: ${message}` });
  },
);

test('where a test cannot be skipped any more, the reason is printed', async () => {
  const runs: (() => Promise<void>)[] = [];
  const define = counters(() => ({ canPreserve: (file): file is Counter => typeof file === 'object' }));
  define({ describe: (_, group) => group(), it: (_, run) => runs.push(run) });
  const warn = vi.spyOn(console, 'warn').mockReturnValue();
  try {
    await runs[0]();
    await expect(runs[1]()).rejects.toThrow(HandlerFault);
    await runs[2]();
    expect(runs.map((run) => run.length)).toEqual(runs.map(() => 0)); // Jest counts parameters
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/^not judged: 'the handler takes its files/)]]);
  } finally {
    warn.mockRestore();
  }
});

test('what never ends is told before a runner loses patience with the test', async () => {
  const { failed } = await outcomeOf((test) => {
    const handler = (parts: KernelParts): FileHandler<Counter> => ({
      ...counterHandler(parts),
      preserve: () => new Promise(() => undefined),
    });
    testFileHandler({ ...counterFiles, test, handler });
  });
  expect(Object.values(failed)).toEqual([
    "handler 'counter-v1': preserve() must end within 2000 ms, and has not",
  ]);
});

test('a failed test that its runner tries again is judged again', async () => {
  const runs = new Map<string, () => Promise<void>>();
  faults[0].define({ describe: (_, group) => group(), it: (name, run) => runs.set(name, run) });
  const run = runs.get(faults[0].test)!;
  for (let i = 0; i < 2; i++) await expect(run()).rejects.toThrow(HandlerFault);
});
