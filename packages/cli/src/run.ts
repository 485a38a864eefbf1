/** `liveupdate run`, `upgrade`, `status` and `stop`: a service under a supervisor. */
import { constants } from 'node:os';
import { codeOf, KernelError } from '@liveupdate/base';
import { collectOrphans, drainOutput, monotonicNow } from '@liveupdate/linux';
import {
  activatedListeners,
  askSupervisor,
  leftSupervisor,
  notifySystemd,
  RENEWAL_FORMAT,
  storedMemory,
  storeMemory,
  Supervisor,
  supervisorNames,
  type Answer,
  type SupervisorEvent,
  type SupervisorStatus,
} from '@liveupdate/service';
import { printable, printJson, printLine } from './output.ts';
import { livingOwners } from './rams.ts';

interface RunFlags {
  readonly name?: string;
  readonly json?: boolean;
  readonly armLimit?: number;
  readonly readyLimit?: number;
  readonly takesOver?: number;
}

type Asked = Parameters<typeof askSupervisor>[1];

/** Signals that are the service's affair. */
const PASSED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGWINCH', 'SIGCONT'] as const;
/** The option by which a supervisor asks its next version whether that could go on. */
const TAKES_OVER = '--takes-over';
/** The first process of a container: orphans become its children. */
const FIRST_PID = 1;
/** How often it is looked whether a supervisor has ended. */
const LOOK_MS = 20;
/** When it is told that it takes long. */
const TELL_MS = 10_000;
/** What a shell makes of a signal. */
const SIGNALLED = 128;

/** Runs a service until it ends. The exit code is its. */
export async function runService(command: readonly string[], flags: RunFlags): Promise<number> {
  const { json = false, takesOver, ...options } = flags;
  if (takesOver !== undefined) return couldTakeOver(takesOver);
  const left = leftSupervisor();
  const memory = left ? undefined : storedMemory();
  const supervisor = new Supervisor({
    ...options,
    command,
    ...(left ? { left } : { listeners: activatedListeners() }),
    ...(memory === undefined ? {} : { memory }),
    trial: [
      process.execPath,
      ...process.execArgv,
      process.argv[1],
      'run',
      TAKES_OVER,
      `${RENEWAL_FORMAT}`,
      'x',
    ],
    holds: (fd) => {
      systemd(() => {
        storeMemory(fd);
      });
    },
    log: (event) => {
      tell(event, json);
    },
  });
  for (const signal of PASSED)
    process.on(signal, () => {
      // The terminal has sent it to the service, too.
      if (signal === 'SIGINT' && process.stdin.isTTY) supervisor.isStopping = true;
      else supervisor.signal(signal);
      if (signal === 'SIGTERM' || signal === 'SIGINT') notify(['STOPPING=1']);
    });
  process.on('SIGUSR2', () => {
    void reload(supervisor);
  });
  const running = supervisor.run(); // from now on it knows whose end it waits for
  if (process.pid === FIRST_PID) collectOrphans((pid) => supervisor.waitsFor(pid));
  const { code, signal } = await running;
  await drainOutput();
  return code ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal]);
}

/** Upgrades by signal, as systemd does with Type=notify-reload: it is told when that is over. */
async function reload(supervisor: Supervisor): Promise<void> {
  reloads += 1;
  notify(['RELOADING=1', `MONOTONIC_USEC=${monotonicNow() / 1000n}`]);
  const text = await supervisor.upgrade().catch((error: unknown) => {
    return error instanceof Error ? error.message : String(error); // it was logged
  });
  reloads -= 1;
  if (reloads === 0) notify(['READY=1', `STATUS=${text}`]);
}

/** Upgrades by signal that are under way. */
let reloads = 0;

/** Whether this version could go on as the supervisor of one that leaves it in this format. */
function couldTakeOver(format: number): number {
  if (format === RENEWAL_FORMAT) return 0;
  const why = `this version goes on with format ${RENEWAL_FORMAT}, and not with ${format}`;
  process.stderr.write(`liveupdate: ${why}: restart the service to change the supervisor\n`);
  return 1;
}

function tell(event: SupervisorEvent, json: boolean): void {
  const { text } = event;
  if (event.event === 'ready' && reloads === 0) notify(['READY=1', `STATUS=${text}`]);
  process.stderr.write(json ? `${JSON.stringify(event)}\n` : `liveupdate: ${printable(text)}\n`);
}

function notify(lines: readonly string[]): void {
  systemd(() => {
    notifySystemd(lines);
  });
}

/** The service goes on where systemd cannot be told. */
function systemd(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    process.stderr.write(`liveupdate: systemd was not told: ${printable(String(error))}\n`);
  }
}

/**
 * Asks the supervisor of a service.
 *
 * @param wanted what that is for
 * @throws KernelError as askSupervisor. ENOENT also says what runs in its place
 */
async function ask(name: string, question: Asked, wanted = question): Promise<Answer> {
  try {
    return await askSupervisor(name, question);
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw cause;
    const pid = livingOwners().get(name);
    const other = pid === undefined ? undefined : (await statuses()).find((each) => each.servicePid === pid);
    throw new KernelError('ENOENT', whyNobody(name, wanted, pid, other?.name), { cause });
  }
}

/** Why a service has no supervisor of its name, and what to do. */
function whyNobody(name: string, wanted: Asked, pid: number | undefined, other: string | undefined): string {
  if (other !== undefined) return `the supervisor of '${name}' is called '${other}': give that name`;
  if (pid !== undefined)
    return `no supervisor of '${name}' runs, but process ${pid} owns its memory. ${alone(pid)}`;
  const advice = wanted === 'stop' ? "see 'liveupdate list' for its memory" : "start it by 'liveupdate run'";
  return `no supervisor of '${name}' runs: ${advice}`;
}

/** What to do about a service whose supervisor was killed. */
function alone(pid: number): string {
  return `A service whose supervisor was killed goes on alone: end it by 'kill ${pid}', then start it again by 'liveupdate run', and it finds all that it has. ('kill -USR2 ${pid}' upgrades it as it is; there a bad version ends it.)`;
}

/** How all services of this user do. One that has just ended is left out. */
async function statuses(): Promise<SupervisorStatus[]> {
  const all: SupervisorStatus[] = [];
  for (const each of supervisorNames()) {
    try {
      all.push((await askSupervisor(each, 'status')).status as SupervisorStatus);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
    }
  }
  return all;
}

/**
 * Ends a service politely, and its supervisor with it. Returns when both are gone, however long
 * the service takes; where that is long, it is told what ends it.
 */
export async function runStop(name: string, { json }: { json: boolean }): Promise<number> {
  const { pid, servicePid } = (await ask(name, 'status', 'stop')).status as SupervisorStatus;
  const { ok, text } = await ask(name, 'stop');
  const told = performance.now() + TELL_MS;
  let isTold = servicePid === undefined;
  while (ok && (await pidOf(name)) === pid) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (isTold || performance.now() < told) continue;
    isTold = true;
    const advice = `'kill -9 ${servicePid}' ends it, and what it has preserved stays`;
    process.stderr.write(`liveupdate: process ${servicePid} has not ended yet: ${advice}\n`);
  }
  const said = ok ? `${name} has ended` : text;
  if (json) printJson({ ok, text: said });
  else if (ok) printLine(said);
  else process.stderr.write(`liveupdate: ${printable(said)}\n`);
  return ok ? 0 : 1;
}

/** The process of a supervisor; undefined where none of this name runs. */
async function pidOf(name: string): Promise<number | undefined> {
  try {
    return ((await askSupervisor(name, 'status')).status as SupervisorStatus).pid;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Asks for an upgrade and waits for it. */
export async function runUpgrade(
  name: string,
  { json, supervisor }: { json: boolean; supervisor: boolean },
): Promise<number> {
  const { ok, text } = await ask(name, supervisor ? 'renew' : 'upgrade');
  if (json) printJson({ ok, text });
  else if (ok) printLine(text);
  else process.stderr.write(`liveupdate: ${printable(text)}\n`);
  return ok ? 0 : 1;
}

/** Tells how one service does, or all. */
export async function runStatus(name: string | undefined, { json }: { json: boolean }): Promise<number> {
  const all =
    name === undefined ? await statuses() : [(await ask(name, 'status')).status as SupervisorStatus];
  if (json) printJson(name === undefined ? all : all[0]);
  else if (all.length === 0) printLine('no service is run by liveupdate');
  else for (const status of all) printLine(inWords(status));
  if (name === undefined && all.length === 0) tellAlone();
  return 0;
}

/** What may be services that go on without a supervisor. */
function tellAlone(): void {
  for (const [name, pid] of livingOwners())
    process.stderr.write(`liveupdate: ${printable(name)} is owned by process ${pid}, without a supervisor\n`);
}

function inWords({ name, state, generation, servicePid, pid, upgrades, crashes }: SupervisorStatus): string {
  const which = generation === undefined ? '' : `, generation ${generation}`;
  const who = servicePid === undefined ? '' : ` (pid ${servicePid})`;
  return `${name ?? '?'}: ${state}${which}${who}, ${counted(upgrades, 'upgrade', 'upgrades')}, ${counted(crashes, 'crash', 'crashes')}, supervisor ${pid}`;
}

function counted(many: number, one: string, more: string): string {
  return `${many} ${many === 1 ? one : more}`;
}
