/** `liveupdate run`, `upgrade` and `status`: a service under a supervisor. */
import { constants } from 'node:os';
import { KernelError } from '@liveupdate/base';
import { drainOutput } from '@liveupdate/linux';
import {
  activatedListeners,
  askSupervisor,
  notifySystemd,
  storedMemory,
  storeMemory,
  Supervisor,
  supervisorNames,
  type SupervisorEvent,
  type SupervisorStatus,
} from '@liveupdate/service';
import { printable, printJson, printLine } from './output.ts';

interface RunFlags {
  readonly name?: string;
  readonly json?: boolean;
  readonly armLimit?: number;
  readonly readyLimit?: number;
}

/** Signals that are the service's affair. */
const PASSED = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGWINCH', 'SIGCONT'] as const;
/** What a shell makes of a signal. */
const SIGNALLED = 128;

/** Runs a service until it ends. The exit code is its. */
export async function runService(command: readonly string[], flags: RunFlags): Promise<number> {
  const { json = false, ...options } = flags;
  const memory = storedMemory();
  const supervisor = new Supervisor({
    ...options,
    command,
    listeners: activatedListeners(),
    ...(memory === undefined ? {} : { memory }),
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
    supervisor.upgrade().catch(() => undefined); // it was told
  });
  const { code, signal } = await supervisor.run();
  await drainOutput();
  return code ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal]);
}

function tell(event: SupervisorEvent, json: boolean): void {
  const { text } = event;
  if (event.event === 'ready') notify(['READY=1', `STATUS=${text}`]);
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

/** Asks for an upgrade and waits for it. */
export async function runUpgrade(name: string): Promise<number> {
  const { ok, text } = await askSupervisor(name, 'upgrade');
  if (ok) printLine(text);
  else process.stderr.write(`liveupdate: ${printable(text)}\n`);
  return ok ? 0 : 1;
}

/** Tells how one service does, or all. */
export async function runStatus(name: string | undefined, { json }: { json: boolean }): Promise<number> {
  const all: SupervisorStatus[] = [];
  for (const each of name === undefined ? supervisorNames() : [name]) {
    try {
      all.push((await askSupervisor(each, 'status')).status as SupervisorStatus);
    } catch (error) {
      if (name !== undefined || !(error instanceof KernelError)) throw error; // of all, it has just ended
    }
  }
  if (json) printJson(name === undefined ? all : all[0]);
  else if (all.length === 0) printLine('no service is run by liveupdate');
  else for (const status of all) printLine(inWords(status));
  return 0;
}

function inWords({ name, state, generation, servicePid, pid, upgrades, crashes }: SupervisorStatus): string {
  const which = generation === undefined ? '' : `, generation ${generation}`;
  const who = servicePid === undefined ? '' : ` (pid ${servicePid})`;
  return `${name ?? '?'}: ${state}${which}${who}, ${upgrades} upgrades, ${crashes} crashes, supervisor ${pid}`;
}
