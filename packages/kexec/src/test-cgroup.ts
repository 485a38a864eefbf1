/** A limit on the memory of one process, where tests may make a group for it. */
import * as fs from 'node:fs';
import { onTestFinished } from 'vitest';

export interface MemoryGroup {
  /** The process is in it from now on, with all that it takes. */
  add(pid: number): void;
}

/** The folder of all groups, and what the files in it are called. */
const VERSIONS = [
  { root: '/sys/fs/cgroup', limit: 'memory.max', swap: ['memory.swap.max', '0'] },
  { root: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes', swap: ['memory.swappiness', '0'] },
] as const;

/**
 * A group of processes that are killed where they take more than so many bytes; gone when the test
 * ends.
 *
 * @returns why there is none, where none can be made
 */
export function memoryGroup(bytes: number): MemoryGroup | string {
  const reasons: string[] = [];
  for (const { root, limit, swap } of VERSIONS) {
    const folder = `${root}/liveupdate-test-${process.pid}`;
    try {
      fs.mkdirSync(folder);
    } catch (error) {
      reasons.push(String(error));
      continue;
    }
    if (!fs.existsSync(`${folder}/${limit}`)) {
      fs.rmdirSync(folder);
      reasons.push(`groups in ${root} have no ${limit}`);
      continue;
    }
    onTestFinished(async () => {
      await removed(folder);
    });
    fs.writeFileSync(`${folder}/${limit}`, String(bytes));
    if (fs.existsSync(`${folder}/${swap[0]}`)) fs.writeFileSync(`${folder}/${swap[0]}`, swap[1]);
    return {
      add: (pid) => {
        fs.writeFileSync(`${folder}/cgroup.procs`, String(pid));
      },
    };
  }
  return `a limit on memory needs a cgroup: ${reasons.join('; ')}`;
}

/** A process that was killed leaves its group a moment later. */
async function removed(folder: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      fs.rmdirSync(folder);
      return;
    } catch (error) {
      if (tries === 500) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
