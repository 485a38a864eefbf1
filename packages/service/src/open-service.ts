/**
 * How a service begins: under a supervisor, as the first generation or beside one that runs; alone,
 * after an exec or at the start.
 */
import { checkOneOf, checkOptions, checkWhole, codeOf, KernelError, parseSize } from '@liveupdate/base';
import { Machine, ramPath, type ArmedMachine, type MachineOptions } from '@liveupdate/kexec';
import { duplicateFrom, isClusterWorker, RamFile } from '@liveupdate/linux';
import type { Line } from './line.ts';
import { activatedListeners } from './notify.ts';
import { unpack } from './parcel.ts';
import { GONE_MS, NOTHING, Service, type ServiceOptions } from './service.ts';
import { supervisorOfThis } from './supervisor-line.ts';
import { growTable, STANDBY_ASKS, warmUp } from './warm-up.ts';

const OPTIONS: readonly (keyof ServiceOptions)[] = ['name', 'size', 'handlers', 'huge', 'ram', 'drain'];
/** The lowest number of a descriptor of ours. */
const LEAST_FD = 64;

/** Whether this process runs a service, or was to: an upgrade replaces the process. */
let hasService = false;

/**
 * Opens a service: its memory, made or found again, and what the generation before left of sockets.
 * Under a supervisor, beside a generation that runs, it waits until that one hands over: load and
 * connect what the service needs before.
 *
 * @example
 * const service = await openService({ name: 'counter', size: '1GiB' });
 * const state = await service.file('state', { size: '64MiB' });
 * await service.listen(server, { port: 8080 });
 * await service.ready();
 *
 * @throws KernelError EBUSY: another process owns this service. EEXIST: this process has had a
 * service. EOPNOTSUPP: a worker of
 * node:cluster, which shares its sockets in another way. Others as Machine.open
 */
export async function openService(options: ServiceOptions): Promise<Service> {
  checkNoCluster();
  const kernel = checkServiceOptions(options);
  const { name, ram = 'shm', size } = options;
  if (ram !== 'shm' && size === undefined)
    throw new KernelError('EINVAL', `give a size: memory of ram: '${ram}' is made`);
  if (ram === 'heap') {
    return new Service(options, { machine: await Machine.open(kernel), ...NOTHING });
  }
  if (hasService)
    throw new KernelError('EEXIST', 'this process has had its service: one process runs one, and once');
  growTable();
  const line = supervisorOfThis();
  hasService = line !== undefined; // a supervisor starts another process for another try
  if (line) return upgradedBySignal(await openBy(line, options, { ...kernel, name }));
  const parcel = unpack();
  const machine = await Machine.open(ram === 'memfd' ? kernel : { ...kernel, name });
  const service = new Service(options, {
    ...NOTHING,
    listeners: [...activatedListeners()].map(([key, fd]) => ({ key, fd })),
    ...parcel,
    machine,
  });
  hasService = true;
  return upgradedBySignal(service);
}

/** SIGUSR2 upgrades: also a generation whose supervisor was killed. */
function upgradedBySignal(service: Service): Service {
  process.on('SIGUSR2', () => {
    service.upgrade().catch((error: unknown) => {
      console.error(error);
    });
  });
  return service;
}

/** @throws KernelError EOPNOTSUPP: this is a worker of node:cluster */
function checkNoCluster(): void {
  if (!isClusterWorker()) return;
  throw new KernelError(
    'EOPNOTSUPP',
    "this is a worker of node:cluster (or of pm2 in cluster mode), whose sockets are its primary's: run the service by 'liveupdate run' in one process, and give its cores to worker threads",
  );
}

/** @internal Those options that are the machine's. @throws KernelError EINVAL: no such options */
export function checkServiceOptions(options: ServiceOptions): Partial<MachineOptions> {
  checkOptions(options, 'a service', OPTIONS);
  const { name, ram = 'shm', drain } = options;
  ramPath(name); // says what is wrong with it
  checkOneOf(ram, 'where memory comes from (ram)', ['shm', 'memfd', 'heap']);
  if (drain !== undefined)
    checkWhole(drain, 'milliseconds for requests to end (drain)', { max: 2 ** 31 - 1 });
  const machine: Partial<MachineOptions> = {};
  for (const key of ['handlers', 'huge', 'size'] as const)
    if (options[key] !== undefined) Object.assign(machine, { [key]: options[key] });
  return machine;
}

/** @internal Opens a service that somebody else starts and ends. */
export async function openBy(
  line: Line,
  options: ServiceOptions,
  machineOptions: MachineOptions,
): Promise<Service> {
  const { listeners, predecessor, memory, name } = await line.hello(options.name);
  if (predecessor && name !== undefined && name !== options.name)
    throw new KernelError(
      'EINVAL',
      `this is an upgrade of '${name}', and the new version calls itself '${options.name}': a service keeps its name`,
    );
  const from = await ramOf(options, machineOptions, line, memory);
  if (!predecessor) {
    const machine = await Machine.open(from).catch((error: unknown) => {
      if (codeOf(error) === 'EBUSY') line.owned();
      throw error;
    });
    return new Service(options, { ...NOTHING, machine, line, listeners });
  }
  const armed = await Machine.arm(from);
  // After it: large views make the engine collect garbage, and compiled code with it.
  await warmUp(STANDBY_ASKS);
  line.armed();
  const { word, fds } = await predecessor.word();
  const machine = await taken(armed, word?.sealed);
  return new Service(options, {
    machine,
    line,
    predecessor: word && predecessor,
    listeners,
    connections: word?.connections ?? [],
    left: word?.left ?? 0,
    fds,
  });
}

/** Where the memory of a service is that somebody starts: where that is nowhere yet, it is made. */
async function ramOf(
  { ram }: ServiceOptions,
  machine: MachineOptions,
  line: Line,
  memory: number | undefined,
): Promise<MachineOptions> {
  if (ram !== 'memfd') return machine;
  const { name = 'liveupdate', size = 0, ...more } = machine;
  if (memory !== undefined) return { ...more, fd: memory };
  using file = RamFile.memory({ name, size: parseSize(size) });
  await line.holds(file.fd);
  return { ...more, fd: duplicateFrom(file.fd, LEAST_FD) };
}

/** Of one that died the lock is free when it is all gone. */
async function taken(armed: ArmedMachine, sealed: Parameters<ArmedMachine['take']>[0]): Promise<Machine> {
  const end = performance.now() + GONE_MS;
  for (;;) {
    try {
      return armed.take(sealed);
    } catch (error) {
      if (sealed || codeOf(error) !== 'EBUSY' || performance.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
