/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import * as net from 'node:net';
import {
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
import {
  openService,
  Stage,
  Supervisor,
  leftSupervisor,
  serveWebSockets,
  type Carrying,
  type LeftSupervisor,
  type ListenOptions,
  type Service,
  type ServiceOptions,
  type StateOptions,
} from './index.ts';

const heap = (more: object): Promise<Service> =>
  openService({ name: 'a', size: '16MiB', ram: 'heap', ...more });
const NO_SIZE = [null, true, {}, [], 1.5, -4096, Number.NaN, '', '12 apples', 5n];
const NO_NAME = [...NO_TEXT, '', 'a/b', '..', 'a'.repeat(201)];

const OPENS: Record<string, InputCall<undefined>> = {
  'openService options': [(_, given: ServiceOptions) => openService(given), [...NO_OBJECT, { names: 'a' }]],
  'openService name': [(_, name: string) => openService({ name, size: '1MiB' }), NO_NAME],
  'openService size': [(_, size: number) => heap({ size }), [...NO_SIZE, undefined]],
  'openService ram': [(_, ram: 'shm') => heap({ ram }), [...optional(NO_TEXT), 'Shm']],
  'openService drain': [(_, drain: number) => heap({ drain }), [...optional(NO_WHOLE), -1, 2 ** 31]],
  'openService handlers': [(_, handlers: () => []) => heap({ handlers }), optional(NO_FUNCTION)],
  'stage upgrade': [(_, start: () => Promise<void>) => new Stage().upgrade(start), NO_FUNCTION],
  'stage upgrade before there is one': [
    (_, start: () => Promise<void>) => new Stage().upgrade(start),
    [() => Promise.resolve()],
  ],
  'new Supervisor': [
    (_, given: never) => new Supervisor(given),
    [...NO_OBJECT, {}, { command: ['a'], Name: 'a' }],
  ],
  'new Supervisor command': [(_, command: string[]) => new Supervisor({ command }), [...NO_LIST, [], [5]]],
  'new Supervisor name': [
    (_, name: string) => new Supervisor({ command: ['a'], name }),
    [...optional(NO_TEXT), 'a/b'],
  ],
  'new Supervisor trial': [
    (_, trial: string[]) => new Supervisor({ command: ['a'], trial }),
    [...optional(NO_LIST), [], [5]],
  ],
  'new Supervisor left': [
    (_, left: LeftSupervisor) => new Supervisor({ command: ['a'], left }),
    [...optional(NO_OBJECT), {}, { format: 2 }],
  ],
  leftSupervisor: [(_, env: NodeJS.ProcessEnv) => leftSupervisor(env), optional(NO_OBJECT)],
  'new Supervisor armLimit': [
    (_, armLimit: number) => new Supervisor({ command: ['a'], armLimit }),
    [...optional(NO_WHOLE), 0],
  ],
};

test.each(inputRows(OPENS))('$title', async ({ call }) => {
  const before = fs.readdirSync('/proc/self/fd').length;
  await expectRefused(() => call(undefined));
  expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before);
});

const file = (service: Service, more: object): Promise<unknown> => service.file('f', { size: 4096, ...more });
const socket = new net.Socket();
const web = {
  server: createServer(),
  acceptor: { handleUpgrade: () => undefined, on: () => undefined },
  serve: () => ({ state: () => undefined }),
};

const CALLS: Record<string, InputCall<Service>> = {
  'file name': [(service, name: string) => service.file(name, { size: 4096 }), [...NO_TEXT, '', 'a@1', 'a/b', 'a'.repeat(51)]], // prettier-ignore
  'file options': [
    (service, given: StateOptions) => service.file('f', given),
    [...NO_OBJECT, {}, { sizes: 1 }],
  ],
  'file size': [(service, size: number) => file(service, { size }), [...NO_SIZE, 0]],
  'file version': [(service, version: number) => file(service, { version }), [...optional(NO_WHOLE), 0, 1e9]],
  'file migrate': [(service, migrate: () => void) => file(service, { migrate }), optional(NO_FUNCTION)],
  'listen server': [(service, server: net.Server) => service.listen(server, { port: 0 }), [...NO_OBJECT, {}]],
  'listen options': [
    (service, given: ListenOptions) => service.listen(createServer(), given),
    [...NO_OBJECT, {}, { port: 1, path: 'a' }, { Port: 1 }],
  ],
  'listen port': [
    (service, port: number) => service.listen(createServer(), { port }),
    [...optional(NO_WHOLE), -1, 65_536],
  ],
  'listen host': [
    (service, host: string) => service.listen(createServer(), { port: 0, host }),
    optional(NO_TEXT),
  ],
  'listen path': [(service, path: string) => service.listen(createServer(), { path }), optional(NO_TEXT)],
  'listen backlog': [
    (service, backlog: number) => service.listen(createServer(), { port: 0, backlog }),
    [...optional(NO_WHOLE), 0],
  ],
  'serveWebSockets options': [(service, given: never) => { serveWebSockets(service, given); }, [...NO_OBJECT, {}, { server: net.createServer() }]], // prettier-ignore
  'serveWebSockets acceptor': [(service, acceptor: never) => { serveWebSockets(service, { ...web, acceptor }); }, [...NO_OBJECT, {}]], // prettier-ignore
  'serveWebSockets serve': [(service, serve: never) => { serveWebSockets(service, { ...web, serve }); }, NO_FUNCTION], // prettier-ignore
  'serveWebSockets kind': [(service, kind: string) => { serveWebSockets(service, { ...web, kind }); }, optional(NO_TEXT)], // prettier-ignore
  'serveWebSockets, an option that there is none of': [(service, more: object) => { serveWebSockets(service, { ...web, ...more }); }, [{ Kind: 'a' }]], // prettier-ignore
  'carry socket': [(service, given: net.Socket) => { service.carry(given, { kind: 'a', state: () => undefined }); }, [...NO_OBJECT, {}]], // prettier-ignore
  'carry options': [(service, given: Carrying) => { service.carry(socket, given); }, [...NO_OBJECT, {}, { kind: 'a' }]], // prettier-ignore
  adopt: [(service, adopt: () => void) => { service.adopt('a', adopt); }, NO_FUNCTION], // prettier-ignore
  beforeUpgrade: [(service, work: () => void) => { service.beforeUpgrade(work); }, NO_FUNCTION], // prettier-ignore
  afterFailedUpgrade: [(service, work: () => void) => { service.afterFailedUpgrade(work); }, NO_FUNCTION], // prettier-ignore
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const service = await heap({});
  try {
    const before = fs.readdirSync('/proc/self/fd').length;
    await expectRefused(() => call(service));
    expect(fs.readdirSync('/proc/self/fd')).toHaveLength(before);
    await service.file('f', { size: 4096 }); // it goes on
    await service.ready();
    service.machine.kernel.pages.assertConsistent();
  } finally {
    await service.close();
  }
});

test.each<[string, (service: Service) => unknown]>([
  ['file', (service) => service.file('g', { size: 4096 })],
  ['listen', (service) => service.listen(createServer(), { port: 0 })],
  ['adopt', (service) => { service.adopt('a', () => undefined); }], // prettier-ignore
  ['ready', (service) => service.ready()],
])('%s after ready', async (_, call) => {
  const service = await heap({});
  await service.ready();
  await expectRefused(() => call(service));
  await service.close();
});
