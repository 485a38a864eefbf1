/**
 * A suite that is told something of the wrong kind is refused at once, as EINVAL, and defines no
 * test.
 */
import {
  except,
  expectRefused,
  inputRows,
  NO_FUNCTION,
  NO_LIST,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { expect, test } from 'vitest';
import { testFileHandler, type FileHandlerSuite, type TestRunner } from './index.ts';
import { processes } from './processes.ts';
import { Counter, counterHandler } from './test-counter.ts';

type Suite = FileHandlerSuite<Counter>;

/** A suite that defines its tests nowhere. */
function suite(defined: string[]): Suite {
  return {
    // Without a class, as a module is: import * as test
    test: Object.assign(Object.create(null) as TestRunner, {
      describe: (name: string) => defined.push(name),
      it: (name: string) => defined.push(name),
    }),
    handler: counterHandler,
    make: () => new Counter(1),
    change: (file) => {
      file.value += 1;
    },
    same: (actual, expected) => actual.value === expected.value,
  };
}

const NO_OLDER = [...NO_LIST, [null], [{}], [{ handler: 5 }], [{ handler: counterHandler, same: 5 }]];
const same = () => true;
const NO_FLBS = [
  ...NO_OBJECT,
  { 'flb-v1': null },
  { 'flb-v1': {} },
  { 'flb-v1': { same: 5 } },
  { 'flb-v1': { same, goesOn: 1 } },
  { 'flb-v1': { same, goeson: true } },
  { 'flb-v1': { same } }, // the handler has none of that name
];
const NO_RUNNER = [...NO_OBJECT, {}, { describe: () => undefined }, { describe: 5, it: () => undefined }];
const NO_DAMAGE = [...NO_OBJECT, { name: 5 }, { name: null }];
const NO_PROCESSES = [...NO_OBJECT, {}, { isGeneration: true }];

const given =
  (option: keyof Suite) =>
  (defined: string[], value: unknown): void => {
    testFileHandler({ ...suite(defined), [option]: value });
  };

const CALLS: Record<string, InputCall<string[]>> = {
  testFileHandler: [
    (_, value: Suite) => {
      testFileHandler(value);
    },
    [...NO_OBJECT, {}],
  ],
  'an option that there is none of': [
    (defined, name: string) => {
      testFileHandler({ ...suite(defined), [name]: 1 });
    },
    ['Make', 'damages', 'timelimit'],
  ],
  test: [given('test'), NO_RUNNER],
  handler: [given('handler'), [...NO_FUNCTION, () => null, () => ({}), () => ({ compatible: 5 })]],
  make: [given('make'), NO_FUNCTION],
  change: [given('change'), NO_FUNCTION],
  same: [given('same'), NO_FUNCTION],
  release: [given('release'), optional(NO_FUNCTION)],
  flbs: [given('flbs'), optional(NO_FLBS)],
  older: [given('older'), optional(NO_OLDER)],
  damage: [given('damage'), optional(NO_DAMAGE)],
  processes: [given('processes'), optional(NO_PROCESSES)],
  title: [given('title'), [...optional(NO_TEXT), '']],
  ramSize: [given('ramSize'), [...optional(NO_WHOLE), 0, 5000]],
  timeLimit: [given('timeLimit'), [...except(NO_WHOLE, undefined), 0, 2 ** 31]],
  'processes()': [(_, url: string) => processes(url), [...NO_TEXT, '', '/a/path', 'http://a/b']],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const defined: string[] = [];
  await expectRefused(() => call(defined));
  expect(defined).toEqual([]);
});

test('what is right defines tests', () => {
  const defined: string[] = [];
  testFileHandler({ ...suite(defined), title: undefined as never });
  expect(defined).toEqual(["file handler 'counter-v1'"]);
});
