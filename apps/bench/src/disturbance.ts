/**
 * How busy the machine was with the work of others while something was measured: what other
 * programs used of the processors, what the host of a virtual machine took away, and how long
 * programs waited for a processor (the kernel's pressure stall information).
 */
import * as fs from 'node:fs';

export interface Disturbance {
  /** Part of all processor time that other programs used, from 0 to 1. */
  readonly others: number;
  /** Part of it that the host kept for itself. */
  readonly stolen: number;
  /**
   * Part of the time in which some program, ours too, waited for a processor; undefined where the
   * kernel does not tell.
   */
  readonly waiting: number | undefined;
}

/** From here on a measurement deserves no trust: others had so much of all processors. */
const MOST_TAKEN = 0.2;

/** Why something that was measured deserves no trust; undefined where it does. */
export function disturbed({ others, stolen }: Disturbance): string | undefined {
  if (others + stolen <= MOST_TAKEN) return undefined;
  const percent = (part: number): string => `${Math.round(part * 100)} %`;
  const host = stolen >= 0.01 ? `, the host kept ${percent(stolen)}` : '';
  return `other programs had ${percent(others)} of the processors${host}`;
}

/** Counters at one moment. Ticks are the kernel's hundredths of a second. */
interface Moment {
  readonly at: number;
  readonly cpu: CpuTicks;
  readonly ours: number;
  readonly waited: number | undefined;
}

/** Ticks of all processors together. */
export interface CpuTicks {
  readonly total: number;
  readonly busy: number;
  readonly stolen: number;
}

/** Watches from its making to `end()`. */
export class MachineWatch {
  readonly #proc: string;
  readonly #pid: number;
  readonly #start: Moment;

  /** @param pid whose work, with that of all programs below it, is not others' */
  constructor({ proc = '/proc', pid = process.pid }: { proc?: string; pid?: number } = {}) {
    this.#proc = proc;
    this.#pid = pid;
    this.#start = this.#moment();
  }

  end(): Disturbance {
    const [before, after] = [this.#start, this.#moment()];
    const total = Math.max(1, after.cpu.total - before.cpu.total);
    const busy = after.cpu.busy - before.cpu.busy;
    const ours = after.ours - before.ours;
    const waited =
      before.waited === undefined || after.waited === undefined ? undefined : after.waited - before.waited;
    return {
      // Ours is counted more exactly than the whole: a little more than all is all.
      others: Math.max(0, busy - ours) / total,
      stolen: Math.max(0, after.cpu.stolen - before.cpu.stolen) / total,
      waiting: waited === undefined ? undefined : Math.min(1, waited / 1000 / (after.at - before.at)),
    };
  }

  #moment(): Moment {
    const cpu = cpuTicks(this.#read('stat') ?? '');
    const pressure = this.#read('pressure/cpu');
    const waited = /^some .*total=(\d+)/m.exec(pressure ?? '')?.[1];
    return {
      at: performance.now(),
      cpu,
      ours: ticksOfTree(this.#processes(), this.#pid),
      waited: waited === undefined ? undefined : Number(waited),
    };
  }

  #read(file: string): string | undefined {
    try {
      return fs.readFileSync(`${this.#proc}/${file}`, 'latin1');
    } catch {
      return undefined; // a process that is gone, a kernel that does not tell
    }
  }

  #processes(): ProcessTicks[] {
    const pids = fs.readdirSync(this.#proc).filter((name) => /^\d+$/.test(name));
    return pids.flatMap((pid) => processTicks(this.#read(`${pid}/stat`) ?? '') ?? []);
  }
}

/** The first line of /proc/stat (proc(5)). Time of guests is part of user time there. */
export function cpuTicks(stat: string): CpuTicks {
  const words = /^cpu +(.*)$/m.exec(stat)?.[1] ?? '';
  const [user, nice, system, idle, wait, irq, softirq, stolen] = [
    ...words.split(' ').map(Number),
    ...Array<number>(8).fill(0),
  ];
  const busy = user + nice + system + irq + softirq;
  return { total: busy + idle + wait + stolen, busy, stolen };
}

export interface ProcessTicks {
  readonly pid: number;
  readonly parent: number;
  /** Its own, and those of its children that have ended. */
  readonly ticks: number;
}

/** A process's stat (proc(5)); its name may have anything in it, parentheses too. */
export function processTicks(stat: string): ProcessTicks | undefined {
  const nameEnd = stat.lastIndexOf(')');
  if (nameEnd < 0) return undefined;
  // From the state on, which is field 3.
  const fields = stat.slice(nameEnd + 2).split(' ');
  const field = (number: number): number => Number(fields[number - 3]);
  return {
    pid: Number.parseInt(stat, 10),
    parent: field(4),
    ticks: field(14) + field(15) + field(16) + field(17),
  };
}

/** Ticks of a process and of all below it. */
export function ticksOfTree(processes: readonly ProcessTicks[], root: number): number {
  const children = Map.groupBy(processes, ({ parent }) => parent);
  const own = processes.find(({ pid }) => pid === root)?.ticks ?? 0;
  return (children.get(root) ?? []).reduce((sum, { pid }) => sum + ticksOfTree(processes, pid), own);
}
