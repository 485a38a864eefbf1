/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import * as fs from 'node:fs';
import { PAGE_SIZE } from '@liveupdate/base';
import {
  except,
  expectRefused,
  inputRows,
  NO_BYTES,
  NO_FLAG,
  NO_FUNCTION,
  NO_LIST,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import type { EntryRecord } from '@liveupdate/kho';
import { HeapRam, type Ram } from '@liveupdate/mm';
import { ShmemFile } from '@liveupdate/shmem';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { bootPageCopies, hasBootPage, readBootPage } from './boot-page.ts';
import { bootKernel, type KernelOptions, type KernelParts } from './kernel.ts';
import type { MachineOptions } from './machine-options.ts';
import { drill } from './drill.ts';
import { Machine } from './machine.ts';
import type { KexecOptions } from './next-program.ts';
import { ramPath } from './ram-source.ts';
import { removeRam, testName } from './test-process.ts';

const SIZE = 2 ** 20;
/** Handed over: who opens it would change it. */
const name = testName();
/** Not there: who opens it would make it. */
const newName = testName();

/** Everything that a machine may be opened with, and one of it of the wrong kind. */
const open = (more: object): Promise<Machine> => Machine.open({ name, ...more });
const make = (more: object): Promise<Machine> => Machine.open({ name: newName, size: SIZE, ...more });
const handlersThatGive = (given: unknown) => ({ handlers: () => given as [] });

const NO_HANDLERS = [...NO_LIST, [null], [5], [{}], [{ compatible: 5 }]];
const NO_NAME = [...optional(NO_TEXT), '', '.', '..', 'a/b', 'a\0', 'a'.repeat(201)];
const NO_PATH = [...optional(NO_TEXT), '', '/dev/shm/a\0'];
const NO_SIZE = [...except(NO_WHOLE, undefined), '', 'many', '-1MiB', '1.5', 0, 10_000, 2 ** 45];
const NO_SCRATCH = [null, 5, 'a', {}, [5], [null], [{}], [{ addr: Number.NaN, size: PAGE_SIZE }]];
const NO_ENTRY = [
  ...optional(NO_OBJECT),
  {},
  { fdtAddr: Number.NaN, fdtSize: 1, scratchAddr: 1, scratchSize: 1 },
];

const OPENS: Record<string, InputCall<undefined>> = {
  'open options': [(_, given: MachineOptions) => Machine.open(given), [...NO_OBJECT, ['a']]],
  'open name': [(_, given: string) => Machine.open({ name: given, size: SIZE }), NO_NAME],
  'open path': [(_, path: string) => Machine.open({ path, size: SIZE }), NO_PATH],
  'open fd': [(_, fd: number) => Machine.open({ fd }), optional(NO_WHOLE)],
  'open size': [(_, size: number) => open({ size }), NO_SIZE],
  'make size': [(_, size: number) => make({ size }), NO_SIZE],
  'make of two names': [(_, more: object) => make(more), [{ path: '/dev/shm/x' }, { fd: 0 }]],
  onCrash: [(_, onCrash: string) => open({ onCrash }), [...optional(NO_TEXT), '', 'Cold']],
  keepHandover: [(_, keepHandover: boolean) => open({ keepHandover }), optional(NO_FLAG)],
  huge: [(_, huge: string) => open({ huge }), [...optional(NO_TEXT), '', 'Always']],
  freeMemory: [(_, freeMemory: string) => open({ freeMemory }), [...optional(NO_TEXT), '', 'Keep']],
  handlers: [(_, handlers: () => []) => open({ handlers }), optional(NO_FUNCTION)],
  'make handlers': [(_, handlers: () => []) => make({ handlers }), optional(NO_FUNCTION)],
  release: [(_, release: string) => open({ release }), [...optional(NO_TEXT), 'a'.repeat(65)]],
  scratch: [(_, scratch: []) => open({ scratch }), [null, 5, 'a', {}]],
  'make scratch': [(_, scratch: []) => make({ scratch }), NO_SCRATCH],
  'an option that there is none of': [
    (_, option: string) => make({ [option]: 1 }),
    ['Name', 'ram', 'oncrash', '', 'toString'],
  ],
};

const ARMS: Record<string, InputCall<undefined>> = {
  'arm options': [(_, given: never) => Machine.arm(given), [...NO_OBJECT, {}, { names: 'a' }]],
  'arm, whether it rehearses': [
    (_, rehearses: boolean) => Machine.arm({ name }, rehearses),
    optional(NO_FLAG),
  ],
  'drill visit': [(_, visit: () => Promise<void>) => drill(visit), optional(NO_FUNCTION)],
  'arm a name': [(_, given: string) => Machine.arm({ name: given }), NO_NAME],
  'arm huge': [(_, huge: 'never') => Machine.arm({ name, huge }), [...optional(NO_TEXT), 'Always']],
};

/** What is in the shared memory of this test, byte by byte, and how many descriptors are open. */
function everything(): unknown {
  const files = fs.readdirSync('/dev/shm').filter((file) => file.includes(name) || file.includes(newName));
  return {
    files,
    bytes: fs.readFileSync(ramPath(name)).toString('latin1'),
    fds: fs.readdirSync('/proc/self/fd').length,
  };
}

beforeAll(async () => {
  const machine = await Machine.open({ name, size: SIZE });
  const file = machine.kernel.shmem.memfdCreate('f');
  file.write(Uint8Array.of(1, 2, 3));
  await machine.kernel.luo.createSession('s').preserve(file, 1);
  await machine.handOver();
});

afterEach(() => {
  removeRam(newName);
});

afterAll(() => {
  removeRam(name);
});

test.each(inputRows({ ...OPENS, ...ARMS }))('$title', async ({ call }) => {
  const before = everything();
  await expectRefused(() => call(undefined));
  expect(everything()).toEqual(before);
});

/** Refused by who gets them, when the memory that nobody preserved is a kernel's already. */
const LATE_OPENS: Record<string, InputCall<undefined>> = {
  'handlers, what they give': [(_, given: []) => open(handlersThatGive(given)), NO_HANDLERS],
  'make handlers, what they give': [(_, given: []) => make(handlersThatGive(given)), NO_HANDLERS],
  callbackTimeLimit: [
    (_, callbackTimeLimit: number) => open({ callbackTimeLimit }),
    [...except(NO_WHOLE, undefined, Infinity), 0, 2 ** 31],
  ],
};

test.each(inputRows(LATE_OPENS))('$title', async ({ call }) => {
  await expectRefused(() => call(undefined));
  const machine = await open({ keepHandover: true });
  const file = await machine.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
  expect([...file.map().bytes]).toEqual([1, 2, 3]);
  machine.abandon();
  expect(fs.existsSync(ramPath(newName))).toBe(false);
});

const kexec = (machine: Machine, options: object): Promise<never> =>
  // Where it should be taken, the kernel refuses the program.
  machine.kexec(['--version'], { file: '/dev/null', ...options });

const KEXECS: Record<string, InputCall<Machine>> = {
  'seal options': [
    (machine, given: object) => machine.seal(given),
    [...optional(NO_OBJECT), { dropunfinished: true }],
  ],
  'seal dropUnfinished': [
    (machine, dropUnfinished: boolean) => machine.seal({ dropUnfinished }),
    optional(NO_FLAG),
  ],
  'kexec arguments': [
    (machine, given: string[]) => machine.kexec(given, { file: '/dev/null' }),
    [...optional(NO_LIST), [5], [null], ['a', undefined], ['a\0'], Uint8Array.of(1)],
  ],
  'kexec options': [
    (machine, given: KexecOptions) => machine.kexec(['--version'], given),
    [...optional(NO_OBJECT), ['a']],
  ],
  'kexec option that there is none of': [
    (machine, option: string) => kexec(machine, { [option]: 1 }),
    ['ENV', 'args', ''],
  ],
  'kexec file': [
    (machine, file: string) => kexec(machine, { file }),
    [...optional(NO_TEXT), '', '/dev/null\0'],
  ],
  'kexec env': [
    (machine, env: Record<string, string>) => kexec(machine, { env }),
    [
      ...optional(NO_OBJECT),
      ['A=1'],
      { A: 5 },
      { A: null },
      { A: {} },
      { A: 'a\0' },
      { 'A\0': 'a' },
      { 'A=B': 'a' },
    ],
  ],
  'handOver dropUnfinished': [
    (machine, dropUnfinished: boolean) => machine.handOver({ dropUnfinished }),
    optional(NO_FLAG),
  ],
  'kexec dropUnfinished': [
    (machine, dropUnfinished: boolean) => kexec(machine, { dropUnfinished }),
    optional(NO_FLAG),
  ],
  'kexec keepFds': [
    (machine, keepFds: number[]) => kexec(machine, { keepFds }),
    [...optional(NO_LIST), new Set([5]), Int32Array.of(5), ...NO_WHOLE.map((fd) => [fd]), [2 ** 31]],
  ],
};

test.each(inputRows(KEXECS))('$title', async ({ call }) => {
  const machine = await Machine.open({ name: newName, size: SIZE });
  try {
    const { luo } = machine.kernel;
    const file = machine.kernel.shmem.memfdCreate('f');
    await luo.createSession('s').preserve(file, 1);
    const before = fs.readFileSync(ramPath(newName)).toString('latin1');
    await expectRefused(() => call(machine));
    expect(fs.readFileSync(ramPath(newName)).toString('latin1')).toBe(before);
    await luo.createSession('t').preserve(machine.kernel.shmem.memfdCreate('g'), 1); // it goes on
  } finally {
    machine.remove();
  }
});

const firstPage = (): Uint8Array => new Uint8Array(fs.readFileSync(ramPath(name)).subarray(0, PAGE_SIZE));
const boot = (ram: Ram, more: object): unknown => bootKernel(ram, undefined, { freeMemory: 'zero', ...more });

const CALLS: Record<string, InputCall<Ram>> = {
  ramPath: [(_, given: string) => ramPath(given), [undefined, ...NO_NAME]],
  hasBootPage: [(_, given: Uint8Array) => hasBootPage(given), NO_BYTES],
  bootPageCopies: [(_, given: Uint8Array) => bootPageCopies(given), NO_BYTES],
  readBootPage: [(_, given: Uint8Array) => readBootPage(given, SIZE), NO_BYTES],
  'readBootPage size': [(_, given: number) => readBootPage(firstPage(), given), NO_WHOLE],
  'readBootPage of less than a page': [
    (_, given: number) => readBootPage(firstPage().subarray(0, given), SIZE),
    [0, 1, PAGE_SIZE - 1],
  ],
  'bootKernel RAM': [(_, given: Ram) => bootKernel(given, undefined), [...NO_OBJECT, {}, { size: SIZE }]],
  'bootKernel entry': [(ram, given: EntryRecord) => bootKernel(ram, given), NO_ENTRY],
  'bootKernel options': [
    (ram, given: KernelOptions) => bootKernel(ram, undefined, given),
    [...optional(NO_OBJECT), { name: 'a' }, { Handlers: () => [] }],
  ],
  'bootKernel handlers': [(ram, handlers: () => []) => boot(ram, { handlers }), optional(NO_FUNCTION)],
  'bootKernel freeMemory': [(ram, freeMemory: string) => boot(ram, { freeMemory }), optional(NO_TEXT)],
  'bootKernel release': [(ram, release: string) => boot(ram, { release }), optional(NO_TEXT)],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const ram = new HeapRam(SIZE);
  ram.bytes(0, 4).set([1, 2, 3, 4]); // whatever is there
  const before = Buffer.from(ram.bytes(0, SIZE)).toString('latin1');
  await expectRefused(() => call(ram));
  expect(Buffer.from(ram.bytes(0, SIZE)).toString('latin1')).toBe(before);
});

/** Refused by who gets them, when the memory, which was nobody's, is a kernel's already. */
const LATE_CALLS: Record<string, InputCall<Ram>> = {
  'bootKernel handlers, what they give': [
    (ram, given: []) => boot(ram, handlersThatGive(given)),
    NO_HANDLERS,
  ],
  'bootKernel huge': [(ram, huge: string) => boot(ram, { huge }), [...optional(NO_TEXT), 'auto']],
  'bootKernel callbackTimeLimit': [
    (ram, callbackTimeLimit: number) => boot(ram, { callbackTimeLimit }),
    [...except(NO_WHOLE, undefined, Infinity), 0],
  ],
};

test.each(inputRows(LATE_CALLS))('$title', async ({ call }) => {
  await expectRefused(() => call(new HeapRam(SIZE)));
});

test('a boot page is read from bytes of any shape', () => {
  const page = firstPage();
  const words = new Float64Array(page.buffer);
  expect(hasBootPage(words)).toBe(true);
  expect(readBootPage(words, SIZE)).toEqual(readBootPage(page, SIZE));
});

test('handlers are made from what the kernel has', () => {
  let parts: KernelParts | undefined;
  bootKernel(new HeapRam(SIZE), undefined, { handlers: (given) => ((parts = given), []) });
  expect(Object.keys(parts ?? {})).toEqual(['ram', 'pages', 'kho', 'shmem', 'fds']);
});
