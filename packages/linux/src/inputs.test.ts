/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import * as fs from 'node:fs';
import { PAGE_SIZE } from '@liveupdate/base';
import {
  BYTES_IN_ALL_SHAPES,
  except,
  expectRefused,
  FORTY_BYTES,
  inputRows,
  NO_BYTES,
  NO_FLAG,
  NO_INTEGER,
  NO_LIST,
  NO_OBJECT,
  NO_TEXT,
  NO_FUNCTION,
  NO_WHOLE,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import type { RamPiece, SharedView, ViewOptions } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import {
  checkReplacement,
  collectChild,
  collectChildren,
  collectOrphans,
  duplicateFrom,
  duplicateOfProcess,
  fileBehind,
  eventfd,
  hostFacts,
  inheritedFd,
  ioctlBytes,
  isListening,
  isLockedByOther,
  isOpen,
  listenTcp,
  listenUnix,
  loadKexecKernel,
  localAddress,
  MappedRam,
  Memfd,
  openSharedView,
  passedFds,
  pollNow,
  PrivateRam,
  RamFile,
  receiveFds,
  replaceProcess,
  sendDatagram,
  sendFds,
  setClosesOnExec,
  shmSpace,
  socketPair,
  trackWrites,
  tryLock,
  unlock,
  type KexecKernel,
  type ListenTcpOptions,
  type ListenUnixOptions,
  type ReplaceOptions,
  type TrackOptions,
} from './index.ts';

const SIZE = 64 * PAGE_SIZE;
const DIRECTORY = '/dev/shm';
const NEW = `${DIRECTORY}/liveupdate-inputs-${process.pid}`;

interface World {
  readonly ram: MappedRam;
  readonly memfd: Memfd;
}

const NO_FD = [...NO_WHOLE, 2 ** 31];
const NO_PATH = [...NO_TEXT, '', 'a\0'];
const NO_SOCKET_PATH = [...NO_PATH, '\0', '\0a\0'];
const NO_FDS = [...NO_LIST, ...NO_FD.map((fd) => [fd]), Array.from({ length: 254 }, () => 0)];
const NO_MESSAGE = [...NO_BYTES, new Uint8Array(0)];
const ONE_BYTE = Uint8Array.of(1);
/** Outside RAM is EFAULT: that is no wrong kind. */
const OUTSIDE = [-PAGE_SIZE, SIZE + PAGE_SIZE, 2 ** 53];
const NO_ADDRESS = except(NO_INTEGER, 2 ** 53);
const NO_SIZE = [...NO_WHOLE, 0, 5000, 2 ** 45];
const NO_PIECES = [
  ...NO_LIST,
  [],
  [5],
  ['a'],
  [{}],
  [{ pa: 0.5, length: PAGE_SIZE }],
  [{ pa: 0, length: '4096' }],
];
const NO_BUFFERS = [...NO_LIST, Uint8Array.of(1), ...NO_BYTES.map((given) => [given])];
const NO_ENV = [...NO_OBJECT, ['A=1']];
const NO_VARIABLES = [...NO_ENV, { A: 5 }, { A: null }, { A: 'a\0' }, { 'A\0': 'a' }, { 'A=B': 'a' }];
const NO_SHARED = [
  ...NO_OBJECT,
  {},
  { address: 4096, length: 1, live: new SharedArrayBuffer(4) },
  { address: -4096n, length: 1, live: new SharedArrayBuffer(4) },
  { address: 0n, length: 1, live: new SharedArrayBuffer(4) },
  { address: 4096n, length: 1, live: new ArrayBuffer(4) },
  { address: 4096n, length: 1, live: new SharedArrayBuffer(3) },
  ...NO_WHOLE.map((length) => ({ address: 4096n, length, live: new SharedArrayBuffer(4) })),
];

const tcp = (more: object): number => listenTcp({ host: '127.0.0.1', port: 0, ...more });
const unix = (more: object): number => listenUnix({ path: NEW, ...more });
/** A replacement that the kernel would refuse. */
const replace = (more: object): never => replaceProcess({ file: '/dev/null', args: ['a'], ...more });
const view = ({ ram }: World, options: unknown): unknown =>
  ram.view([{ pa: 0, length: PAGE_SIZE }], options as ViewOptions);
const inRange = (
  name: string,
  call: (world: World, pa: number, length: number) => unknown,
): Record<string, InputCall<World>> => ({
  [`${name} address`]: [(world, pa: number) => call(world, pa, PAGE_SIZE), NO_ADDRESS],
  [`${name} address outside`]: [(world, pa: number) => call(world, pa, PAGE_SIZE), OUTSIDE, 'EFAULT'],
  [`${name} length`]: [(world, length: number) => call(world, 0, length), NO_ADDRESS],
  [`${name} length outside`]: [(world, length: number) => call(world, 0, length), OUTSIDE, 'EFAULT'],
});

const CALLS: Record<string, InputCall<World>> = {
  'duplicateOfProcess pid': [(_, pid: number) => duplicateOfProcess(pid, 0), [...NO_WHOLE, 0, 2 ** 31]],
  'duplicateOfProcess fd': [(_, fd: number) => duplicateOfProcess(process.pid, fd), NO_FD],
  'ioctlBytes fd': [(_, fd: number) => ioctlBytes(fd, 0, ONE_BYTE), NO_FD],
  'ioctlBytes request': [(_, request: number) => ioctlBytes(0, request, ONE_BYTE), [...NO_WHOLE, 2 ** 32]],
  'ioctlBytes argument': [(_, argument: Uint8Array) => ioctlBytes(0, 0, argument), NO_BYTES],
  loadKexecKernel: [
    (_, given: KexecKernel) => {
      loadKexecKernel(given);
    },
    [...NO_OBJECT, {}, { kernel: 0, commandLine: '', flags: 0 }],
  ],
  'loadKexecKernel kernel': [
    (_, kernel: number) => {
      loadKexecKernel({ kernel, commandLine: '' });
    },
    NO_FD,
  ],
  'loadKexecKernel debug': [
    (_, debug: boolean) => {
      loadKexecKernel({ kernel: 0, commandLine: '', debug });
    },
    optional(NO_FLAG),
  ],
  'loadKexecKernel initrd': [
    (_, initrd: number) => {
      loadKexecKernel({ kernel: 0, initrd, commandLine: '' });
    },
    optional(NO_FD),
  ],
  'loadKexecKernel command line': [
    (_, commandLine: string) => {
      loadKexecKernel({ kernel: 0, commandLine });
    },
    [...NO_TEXT, 'a\0'],
  ],
  'MappedRam.create options': [(_, given: never) => MappedRam.create(given), [...NO_OBJECT, {}, ['a']]],
  'MappedRam.create path': [(_, path: string) => MappedRam.create({ path, size: SIZE }), NO_PATH],
  'MappedRam.create size': [(_, size: number) => MappedRam.create({ path: NEW, size }), NO_SIZE],
  'MappedRam.create mode': [
    (_, mode: number) => MappedRam.create({ path: NEW, size: SIZE, mode }),
    [...optional(NO_WHOLE), 0o660, 0o602, 0o400, 0o10600],
  ],
  'MappedRam.create, an option that there is none of': [
    (_, name: string) => MappedRam.create({ path: NEW, size: SIZE, [name]: 1 }),
    ['Mode', 'name'],
  ],
  'new PrivateRam file': [(_, given: RamFile) => new PrivateRam(given), [...NO_OBJECT, {}]],
  'new PrivateRam size': [
    (_, size: number) => {
      using file = RamFile.memory({ name: 'a', size: SIZE });
      return new PrivateRam(file, size);
    },
    [...optional(NO_WHOLE), 0, 4096, SIZE + 4096],
  ],
  'prepareWindow address': [
    ({ ram }, given: number) => {
      ram.prepareWindow(given);
    },
    NO_ADDRESS,
  ],
  'prepareWindow address outside': [
    ({ ram }, given: number) => {
      ram.prepareWindow(given);
    },
    OUTSIDE,
    'EFAULT',
  ],
  'prepareView pieces': [
    ({ ram }, pieces: RamPiece[]) => {
      ram.prepareView(pieces, { size: 1, populate: false });
    },
    [...NO_LIST, []],
  ],
  'MappedRam.open options': [
    (_, given: never) => MappedRam.open(given),
    [...NO_OBJECT, {}, { path: NEW, size: SIZE }],
  ],
  'MappedRam.open path': [(_, path: string) => MappedRam.open({ path }), NO_PATH],
  'MappedRam.anonymous options': [(_, given: never) => MappedRam.anonymous(given), [...NO_OBJECT, {}]],
  'MappedRam.anonymous name': [
    (_, name: string) => MappedRam.anonymous({ name, size: SIZE }),
    [...NO_TEXT, 'a\0', 'a'.repeat(250)],
  ],
  'MappedRam.anonymous, an option that there is none of': [
    (_, name: string) => MappedRam.anonymous({ name: 'a', size: SIZE, [name]: 1 }),
    ['path', 'hugeTlb'],
  ],
  'MappedRam.anonymous size': [(_, size: number) => MappedRam.anonymous({ name: 'a', size }), NO_SIZE],
  'MappedRam.anonymous hugetlb': [
    (_, hugetlb: boolean) => MappedRam.anonymous({ name: 'a', size: SIZE, hugetlb }),
    optional(NO_FLAG),
  ],
  'MappedRam.fromFd': [(_, given: number) => MappedRam.fromFd(given), NO_FD],
  'MappedRam.of file': [(_, given: RamFile) => MappedRam.of(given), [...NO_OBJECT, {}]],
  'MappedRam.of options': [
    ({ ram }, given: object) => {
      using file = RamFile.reopen(ram.fd);
      return MappedRam.of(file, given);
    },
    [...optional(NO_OBJECT), { size: 5000 }, { size: null }, ...optional(NO_PATH).map((path) => ({ path }))],
  ],
  'MappedRam.exists': [(_, given: string) => MappedRam.exists(given), NO_PATH],
  'MappedRam.remove': [
    (_, given: string) => {
      MappedRam.remove(given);
    },
    NO_PATH,
  ],
  'MappedRam.isOpenOn fd': [(_, given: number) => MappedRam.isOpenOn(given, DIRECTORY), NO_FD],
  'MappedRam.isOpenOn path': [(_, given: string) => MappedRam.isOpenOn(0, given), NO_PATH],
  'RamFile.create': [(_, given: never) => RamFile.create(given), [...NO_OBJECT, {}]],
  'RamFile.open': [(_, given: string) => RamFile.open(given), NO_PATH],
  'RamFile.memory': [(_, given: never) => RamFile.memory(given), [...NO_OBJECT, {}]],
  'RamFile.borrow': [(_, given: number) => RamFile.borrow(given), NO_FD],
  'RamFile.reopen': [(_, given: number) => RamFile.reopen(given), NO_FD],
  'resize and checkSize': [
    ({ ram }, given: number) => {
      using file = RamFile.reopen(ram.fd);
      file.resize(given);
    },
    NO_WHOLE,
  ],
  checkSize: [
    ({ ram }, given: number) => {
      using file = RamFile.reopen(ram.fd);
      return file.checkSize(given);
    },
    [...optional(NO_WHOLE), 0, 5000, SIZE + PAGE_SIZE],
  ],
  isAt: [
    ({ ram }, given: string) => {
      using file = RamFile.reopen(ram.fd);
      return file.isAt(given);
    },
    NO_PATH,
  ],
  ...inRange('bytes', ({ ram }, pa, length) => ram.bytes(pa, length)),
  ...inRange('inner.bytes', ({ ram }, pa, length) => ram.inner.bytes(pa, length)),
  ...inRange('ownBytes', ({ ram }, pa, length) => ram.ownBytes(pa, length)),
  ...inRange('discard', ({ ram }, pa, length) => {
    ram.discard(pa, length);
  }),
  ...inRange('system.reserve', ({ ram }, pa, length) => {
    ram.system.reserve(pa, length);
  }),
  ...inRange('system.populate', ({ ram }, pa, length) => {
    ram.system.populate(pa, length);
  }),
  ...inRange('system.adviseHuge', ({ ram }, pa, length) => ram.system.adviseHuge(pa, length)),
  ...inRange('system.dataPieces', ({ ram }, pa, length) => ram.system.dataPieces(pa, length)),
  'system.populateHuge': [
    ({ ram }, given: number) => ram.system.populateHuge(given),
    [...NO_ADDRESS, PAGE_SIZE],
  ],
  'system.read address': [
    ({ ram }, given: number) => {
      ram.system.read(given, new Uint8Array(1));
    },
    NO_ADDRESS,
  ],
  'system.read target': [
    ({ ram }, given: Uint8Array) => {
      ram.system.read(0, given);
    },
    NO_BYTES,
  ],
  'system.write address': [
    ({ ram }, given: number) => {
      ram.system.write(given, Uint8Array.of(1));
    },
    NO_ADDRESS,
  ],
  'system.write bytes': [
    ({ ram }, given: Uint8Array) => {
      ram.system.write(0, given);
    },
    NO_BYTES,
  ],
  'view pieces': [({ ram }, given: RamPiece[]) => ram.view(given, { size: 1, populate: false }), NO_PIECES],
  'view options': [view, [...NO_OBJECT, {}]],
  'view size': [
    (world, size: number) => view(world, { size, populate: false }),
    [...NO_WHOLE, 0, PAGE_SIZE + 1],
  ],
  'view populate': [(world, populate: boolean) => view(world, { size: 1, populate }), NO_FLAG],
  'trackWrites RAM': [(_, given: MappedRam) => trackWrites(given), [...NO_OBJECT, {}]],
  'trackWrites options': [
    ({ ram }, given: TrackOptions) => trackWrites(ram, given),
    [...optional(NO_OBJECT), { Method: 'growth' }, { method: 'pages' }, { method: 5 }, { method: null }],
  ],
  openSharedView: [(_, given: SharedView) => openSharedView(given), NO_SHARED],
  'Memfd.create name': [(_, given: string) => Memfd.create(given, 0), [...NO_TEXT, 'a\0', 'a'.repeat(250)]],
  'Memfd.of fd': [(_, given: number) => Memfd.of(given), NO_FD],
  'Memfd.create flags': [(_, given: number) => Memfd.create('a', given), [...NO_WHOLE, 2 ** 32, 2 ** 30]],
  'memfd.write sources': [({ memfd }, given: Uint8Array[]) => memfd.write(given), NO_BUFFERS],
  'memfd.write position': [
    ({ memfd }, given: number) => memfd.write([Uint8Array.of(1)], given),
    optional(NO_WHOLE),
  ],
  'memfd.read targets': [({ memfd }, given: Uint8Array[]) => memfd.read(given), NO_BUFFERS],
  'memfd.read position': [
    ({ memfd }, given: number) => memfd.read([new Uint8Array(1)], given),
    optional(NO_WHOLE),
  ],
  'memfd.seek offset': [({ memfd }, given: number) => memfd.seek(given, 0), NO_WHOLE],
  'memfd.seek whence': [({ memfd }, given: number) => memfd.seek(0, given), [...NO_WHOLE, 9, 2 ** 31]],
  'memfd.truncate': [
    ({ memfd }, given: number) => {
      memfd.truncate(given);
    },
    NO_WHOLE,
  ],
  'memfd.fallocate mode': [
    ({ memfd }, given: number) => {
      memfd.fallocate(given, 0, 1);
    },
    [...NO_WHOLE, 2 ** 31],
  ],
  'memfd.fallocate position': [
    ({ memfd }, given: number) => {
      memfd.fallocate(0, given, 1);
    },
    NO_WHOLE,
  ],
  'memfd.fallocate length': [
    ({ memfd }, given: number) => {
      memfd.fallocate(0, 0, given);
    },
    [...NO_WHOLE, 0],
  ],
  'memfd.addSeals': [
    ({ memfd }, given: number) => {
      memfd.addSeals(given);
    },
    [...NO_WHOLE, 2 ** 31, 2 ** 20],
  ],
  'duplicateFrom fd': [(_, given: number) => duplicateFrom(given, 0), NO_FD],
  'duplicateFrom least': [(_, given: number) => duplicateFrom(0, given), NO_FD],
  fileBehind: [(_, given: number) => fileBehind(given), NO_FD],
  isOpen: [(_, given: number) => isOpen(given), NO_FD],
  'setClosesOnExec fd': [
    (_, given: number) => {
      setClosesOnExec(given, true);
    },
    NO_FD,
  ],
  'setClosesOnExec flag': [
    ({ memfd }, given: boolean) => {
      setClosesOnExec(memfd.fd, given);
    },
    NO_FLAG,
  ],
  'eventfd count': [(_, given: number) => eventfd(given, 0), [...NO_WHOLE, 2 ** 32]],
  'eventfd flags': [(_, given: number) => eventfd(0, given), [...NO_WHOLE, 2 ** 31, 2 ** 20]],
  'pollNow fd': [(_, given: number) => pollNow(given, 1), NO_FD],
  'pollNow events': [({ memfd }, given: number) => pollNow(memfd.fd, given), [...NO_WHOLE, 2 ** 15]],
  socketPair: [
    (_, given: 'stream') => socketPair(given),
    [...NO_TEXT, '', 'Stream', 'datagrams', 'toString'],
  ],
  'sendFds socket': [(_, given: number) => sendFds(given, [], ONE_BYTE), NO_FD],
  'sendFds descriptors': [({ memfd }, given: number[]) => sendFds(memfd.fd, given, ONE_BYTE), NO_FDS],
  'sendFds bytes': [({ memfd }, given: Uint8Array) => sendFds(memfd.fd, [], given), NO_MESSAGE],
  'receiveFds socket': [(_, given: number) => receiveFds(given), NO_FD],
  'receiveFds room': [
    ({ memfd }, given: number) => receiveFds(memfd.fd, given),
    [...optional(NO_WHOLE), 0, 2 ** 20 + 1],
  ],
  'sendDatagram path': [
    (_, given: string) => {
      sendDatagram(given, ONE_BYTE);
    },
    [...NO_SOCKET_PATH, '@', '@a\0'],
  ],
  'sendDatagram bytes': [
    (_, given: Uint8Array) => {
      sendDatagram(NEW, given);
    },
    NO_MESSAGE,
  ],
  'sendDatagram descriptors': [
    (_, given: number[]) => {
      sendDatagram(NEW, ONE_BYTE, given);
    },
    optional(NO_FDS),
  ],
  'listenTcp options': [
    (_, given: ListenTcpOptions) => listenTcp(given),
    [...NO_OBJECT, {}, { host: '127.0.0.1' }, { port: 0 }],
  ],
  'listenTcp, an option that there is none of': [(_, name: string) => tcp({ [name]: 1 }), ['Host', 'path']],
  'listenTcp host': [(_, host: string) => tcp({ host }), [...NO_TEXT, '', 'localhost', '1.2.3', '::g']],
  'listenTcp port': [(_, port: number) => tcp({ port }), [...NO_WHOLE, 65_536]],
  'listenTcp backlog': [(_, backlog: number) => tcp({ backlog }), [...optional(NO_WHOLE), 2 ** 31]],
  'listenTcp ipv6Only': [(_, ipv6Only: boolean) => tcp({ ipv6Only }), optional(NO_FLAG)],
  'listenTcp reusePort': [(_, reusePort: boolean) => tcp({ reusePort }), optional(NO_FLAG)],
  'listenUnix options': [(_, given: ListenUnixOptions) => listenUnix(given), [...NO_OBJECT, {}]],
  'listenUnix, an option that there is none of': [(_, name: string) => unix({ [name]: 1 }), ['Path', 'host']],
  'listenUnix path': [(_, path: string) => unix({ path }), NO_SOCKET_PATH],
  'listenUnix backlog': [(_, backlog: number) => unix({ backlog }), [...optional(NO_WHOLE), 2 ** 31]],
  'listenUnix mode': [(_, mode: number) => unix({ mode }), [...optional(NO_WHOLE), 0o1000]],
  localAddress: [(_, given: number) => localAddress(given), NO_FD],
  isListening: [(_, given: number) => isListening(given), NO_FD],
  tryLock: [(_, given: number) => tryLock(given), NO_FD],
  unlock: [
    (_, given: number) => {
      unlock(given);
    },
    NO_FD,
  ],
  isLockedByOther: [(_, given: number) => isLockedByOther(given), NO_FD],
  shmSpace: [(_, given: string) => shmSpace(given), NO_PATH],
  hostFacts: [
    (_, given: object) => hostFacts(given),
    [...optional(NO_OBJECT), { Root: '/' }, ...optional(NO_PATH).map((root) => ({ root }))],
  ],
  passedFds: [(_, given: object) => passedFds(given as NodeJS.ProcessEnv), optional(NO_OBJECT)],
  collectChild: [(_, given: number) => collectChild(given), [...NO_WHOLE, 0, 2 ** 22 + 1]],
  collectOrphans: [
    (_, given: () => boolean) => {
      collectOrphans(given);
    },
    NO_FUNCTION,
  ],
  collectChildren: [
    (_, given: object) => {
      collectChildren(given as NodeJS.ProcessEnv);
    },
    optional(NO_OBJECT),
  ],
  'inheritedFd name': [(_, given: string) => inheritedFd(given), NO_TEXT],
  'inheritedFd environment': [
    (_, given: object) => inheritedFd('A', given as NodeJS.ProcessEnv),
    optional(NO_OBJECT),
  ],
  checkReplacement: [
    (_, given: ReplaceOptions) => {
      checkReplacement(given);
    },
    [...NO_OBJECT, {}, { args: [] }],
  ],
  'replaceProcess options': [
    (_, given: ReplaceOptions) => replaceProcess(given),
    [...NO_OBJECT, {}, { args: [] }],
  ],
  'replaceProcess, an option that there is none of': [
    (_, name: string) => replace({ [name]: 1 }),
    ['Env', 'argv'],
  ],
  'replaceProcess file': [(_, file: string) => replace({ file }), optional(NO_PATH)],
  'replaceProcess args': [
    (_, args: string[]) => replace({ args }),
    [...NO_LIST, [], [5], [null], ['a', 'a\0']],
  ],
  'replaceProcess env': [(_, env: object) => replace({ env }), optional(NO_VARIABLES)],
  'replaceProcess keepFds': [
    (_, keepFds: number[]) => replace({ keepFds }),
    [...optional(NO_LIST), ...NO_FD.map((fd) => [fd])],
  ],
  'replaceProcess discardOutput': [
    (_, discardOutput: boolean) => replace({ discardOutput }),
    optional(NO_FLAG),
  ],
};

const openFds = (): number => fs.readdirSync('/proc/self/fd').length;

test.each(inputRows(CALLS))('$title is $code', async ({ call, code }) => {
  using ram = MappedRam.anonymous({ name: 'inputs', size: SIZE });
  using memfd = Memfd.create('inputs', 2); // may be sealed
  ram.bytes(0, 3).set([1, 2, 3]);
  memfd.write([Uint8Array.of(1, 2, 3)]);
  const fds = openFds();
  await expectRefused(() => call({ ram, memfd }), code);
  expect(openFds()).toBe(fds);
  expect(fs.existsSync(NEW)).toBe(false);
  expect([...ram.bytes(0, 3)]).toEqual([1, 2, 3]);
  expect([ram.allocated(), memfd.stat().size, memfd.seals, memfd.seek(0, 1)]).toEqual([PAGE_SIZE, 3, 0, 3]);
});

test.each(BYTES_IN_ALL_SHAPES)('the bytes of a %s are written and read whole', (_, given) => {
  using ram = MappedRam.anonymous({ name: 'inputs', size: SIZE });
  ram.system.write(PAGE_SIZE - 3, given);
  expect(new Uint8Array(ram.bytes(PAGE_SIZE - 3, 40))).toEqual(FORTY_BYTES);
  ram.bytes(PAGE_SIZE - 3, 40).reverse();
  ram.system.read(PAGE_SIZE - 3, given);
  expect(new Uint8Array(given.buffer, given.byteOffset, given.byteLength)).toEqual(FORTY_BYTES.toReversed());
  using memfd = Memfd.create('inputs', 0);
  expect(memfd.write([given])).toBe(40);
  expect(memfd.read([given], 0)).toBe(40);
  expect(new Uint8Array(given.buffer, given.byteOffset, given.byteLength)).toEqual(FORTY_BYTES.toReversed());
});
