/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time (EBADF where a file is
 * expected), a KernelError, and nothing is changed.
 */
import {
  NO_BYTES,
  NO_FUNCTION,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  except,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import type { Handover, LiveRecord, Subtree } from '@liveupdate/kho';
import type { Ram } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { ProcessDescriptors } from './descriptors.ts';
import { LiveUpdateDevice } from './device.ts';
import type { FileLifecycleBound } from './flb.ts';
import type { FileHandler } from './handler.ts';
import type { IncomingSession } from './incoming-session.ts';
import { LiveUpdateOrchestrator, type OrchestratorInit } from './orchestrator.ts';
import { readLiveSessions } from './read-live-sessions.ts';
import { readLuo } from './read-luo.ts';
import { findFileBlock, findFlbs, findSessionBlock, readLuoHead } from './scan-luo.ts';
import type { OutgoingSession } from './outgoing-session.ts';
import { coldKernel, Counter, nextKernel, snapshot, type TestKernel } from './test-kernel.ts';
import { LIVEUPDATE_IOCTL } from './uapi.ts';

const NO_PAGE = [...NO_BYTES, new Uint8Array(5), new DataView(new ArrayBuffer(4096))];
const NO_SUBTREE = [...NO_OBJECT, {}, { pa: 4096 }, { pa: -1, size: 32 }, { pa: 4096, size: 8 }];
const NO_TOKEN = [...except(NO_WHOLE, 5n), -1n, 2n ** 64n];
const NO_NAME = [...NO_TEXT, '', 'a\0', 'a'.repeat(64), '\ud800'];
const NO_HANDLER = [...NO_OBJECT, {}, { compatible: 5 }, { compatible: 'a' }, { compatible: '' }];
const NO_HANDLERS = [null, 5, 'a', {}, true, [null], [{}]];

interface World {
  readonly kernel: TestKernel;
  readonly outgoing: OutgoingSession;
  readonly incoming: IncomingSession;
  readonly table: ProcessDescriptors;
}

const init = (world: World, more: object): unknown =>
  new LiveUpdateOrchestrator({ kho: world.kernel.kho, ...more });

const CALLS: Record<string, InputCall<World>> = {
  'new LiveUpdateOrchestrator': [
    (_, given: OrchestratorInit) => new LiveUpdateOrchestrator(given),
    [...NO_OBJECT, {}],
  ],
  'its options': [(world, name: string) => init(world, { [name]: 1 }), ['Handlers', 'handler', 'timeLimit']],
  'its KHO': [(_, kho: OrchestratorInit['kho']) => new LiveUpdateOrchestrator({ kho }), NO_OBJECT],
  'its handlers': [(world, handlers: unknown) => init(world, { handlers }), NO_HANDLERS],
  'its switch': [(world, enabled: unknown) => init(world, { enabled }), [null, 0, 1, 'no', {}]],
  'its time limit': [
    (world, callbackTimeLimit: unknown) => init(world, { callbackTimeLimit }),
    [0, -1, 2 ** 31, Number.NaN, null, '5', 5n, true, {}, Symbol('5')],
  ],
  'its clock': [(world, clock: unknown) => init(world, { clock }), optional(NO_FUNCTION)],
  findSessionBlock: [(_, given: Uint8Array) => findSessionBlock(given), NO_PAGE],
  findFileBlock: [(_, given: Uint8Array) => findFileBlock(given), NO_PAGE],
  findFlbs: [(_, given: Uint8Array) => findFlbs(given), NO_PAGE],
  'readLuoHead RAM': [(_, given: Ram) => readLuoHead(given, { name: 'LUO', pa: 4096, size: 32 }), NO_OBJECT],
  'readLuoHead subtree': [({ kernel }, given: Subtree) => readLuoHead(kernel.kho.ram, given), NO_SUBTREE],
  createSession: [({ kernel }, given: string) => kernel.luo.createSession(given), NO_NAME],
  retrieveSession: [({ kernel }, given: string) => kernel.luo.retrieveSession(given), NO_NAME],
  registerHandler: [
    ({ kernel }, given: FileHandler) => {
      kernel.luo.registerHandler(given);
    },
    NO_HANDLER,
  ],
  unregisterHandler: [({ kernel }, given: FileHandler) => kernel.luo.unregisterHandler(given), NO_OBJECT],
  'registerFlb handler': [
    ({ kernel }, given: FileHandler) => {
      kernel.luo.registerFlb(given, {} as FileLifecycleBound);
    },
    NO_OBJECT,
  ],
  'registerFlb FLB': [
    ({ kernel }, given: FileLifecycleBound) => {
      kernel.luo.registerFlb(kernel.handler, given);
    },
    NO_HANDLER,
  ],
  'unregisterFlb FLB': [
    ({ kernel }, given: FileLifecycleBound) => kernel.luo.unregisterFlb(kernel.handler, given),
    NO_OBJECT,
  ],
  outgoingFlb: [({ kernel }, given: FileLifecycleBound) => kernel.luo.outgoingFlb(given), [...NO_OBJECT, {}]],
  'readLuo RAM': [(_, given: Ram) => readLuo(given, {} as Handover), NO_OBJECT],
  'readLuo handover': [({ kernel }, given: Handover) => readLuo(kernel.kho.ram, given), [...NO_OBJECT, {}]],
  'readLuo what is told of damage': [
    ({ kernel }, given: () => void) => readLuo(kernel.kho.ram, {} as Handover, given),
    optional(NO_FUNCTION),
  ],
  'readLiveSessions RAM': [(_, given: Ram) => readLiveSessions(given, {} as LiveRecord), NO_OBJECT],
  'readLiveSessions record': [
    ({ kernel }, given: LiveRecord) => readLiveSessions(kernel.kho.ram, given),
    [...NO_OBJECT, {}],
  ],
  'readLiveSessions what is told of damage': [
    ({ kernel }, given: () => void) =>
      readLiveSessions(kernel.kho.ram, { pages: [] } as unknown as LiveRecord, given),
    optional(NO_FUNCTION),
  ],
  retrieveFlb: [({ kernel }, given: FileLifecycleBound) => kernel.luo.retrieveFlb(given), [...NO_OBJECT, {}]],
  subscribe: [({ kernel }, given: () => void) => kernel.luo.events.subscribe(given), NO_FUNCTION],
  'preserve file': [({ outgoing }, given: Counter) => outgoing.preserve(given, 9), NO_OBJECT, 'EBADF'],
  'preserve token': [({ outgoing }, given: number) => outgoing.preserve(new Counter(1), given), NO_TOKEN],
  'preserveAll list': [
    ({ outgoing }, given: [number, Counter][]) => outgoing.preserveAll(given),
    [...NO_OBJECT, {}, new Counter(1), [5], [[5]], [{}]],
  ],
  'preserveAll token': [
    ({ outgoing }, given: number) => outgoing.preserveAll([[given, new Counter(1)]]),
    NO_TOKEN,
  ],
  'preserveAll file': [
    ({ outgoing }, given: Counter) => outgoing.preserveAll([[9, given]]),
    NO_OBJECT,
    'EBADF',
  ],
  unpreserve: [({ outgoing }, given: number) => outgoing.unpreserve(given), NO_TOKEN],
  'retrieve token': [({ incoming }, given: number) => incoming.retrieve(given), NO_TOKEN],
  'retrieve class': [
    ({ incoming }, given: typeof Counter) => incoming.retrieve(1, given),
    optional(NO_FUNCTION),
  ],
  'new ProcessDescriptors': [(_, given: number) => new ProcessDescriptors(given), optional(NO_WHOLE)],
  'install file': [({ table }, given: object) => table.install(given, { closeOnExec: true }), NO_OBJECT],
  'install options': [
    ({ table }, given: { closeOnExec: boolean }) => table.install({}, given),
    [...NO_OBJECT, {}, { closeOnExec: 1 }, { closeOnExec: true, cloexec: true }],
  ],
  'get, dup and close': [({ table }, given: number) => table.get(given), NO_WHOLE, 'EBADF'],
  'device open': [
    ({ kernel }, given: ProcessDescriptors) => new LiveUpdateDevice(kernel.luo).open(given),
    NO_OBJECT,
  ],
  'ioctl table': [
    ({ kernel }, given: ProcessDescriptors) =>
      new LiveUpdateDevice(kernel.luo).ioctl(given, 3, 0, new Uint8Array(8)),
    NO_OBJECT,
  ],
  'ioctl request': [
    ({ kernel, table }, given: number) => {
      const device = new LiveUpdateDevice(kernel.luo);
      return device.ioctl(table, device.open(table), given, new Uint8Array(8));
    },
    NO_WHOLE,
  ],
  'ioctl argument': [
    ({ kernel, table }, given: Uint8Array) => {
      const device = new LiveUpdateDevice(kernel.luo);
      return device.ioctl(table, device.open(table), LIVEUPDATE_IOCTL.createSession, given);
    },
    NO_BYTES,
  ],
};

test.each(inputRows(CALLS))('$title is $code', async ({ call, code }) => {
  const first = coldKernel(2 ** 20);
  await first.luo.createSession('before').preserve(new Counter(1), 1);
  await first.luo.reboot();
  const kernel = nextKernel(first);
  const outgoing = kernel.luo.createSession('out');
  await outgoing.preserve(new Counter(2), 2);
  const incoming = kernel.luo.retrieveSession('before');
  const before = snapshot(kernel.kho);
  await expectRefused(() => call({ kernel, outgoing, incoming, table: new ProcessDescriptors() }), code);
  expect(snapshot(kernel.kho)).toBe(before);
  expect([outgoing.fileCount, incoming.fileCount, kernel.luo.outgoingSessions.length]).toEqual([1, 1, 1]);
  expect(incoming.files.map(({ retrieval }) => retrieval)).toEqual(['untried']);
});
