/**
 * The limit: a program that does nothing but pass a memfd on to its next generation, which maps it.
 * Nothing is recorded, nothing can be told apart in it, no version is checked. RAM leaves its page
 * tables before the clock starts, as a service's does while the next generation runs.
 */
import { inheritedFd, MappedRam, replaceProcess } from '@liveupdate/linux';
import { argument, awaitGo, before, noteExec, now, say, startPhases, tellFailures } from './child-side.ts';
import { readBytes } from './workload.ts';

const bodyAt = now();
tellFailures();

/** What the program is told. */
export interface BareArgument {
  /** Bytes to read, of those in the memfd. */
  readonly size: number;
  readonly reads: boolean;
}

/** Milliseconds. `start` is from execve to the first byte read. */
export interface BareStart {
  readonly start: number;
  readonly readAll?: number;
}

const FD = 'LIVEUPDATE_BENCH_FD';

void main();

async function main(): Promise<void> {
  const { size, reads } = argument() as BareArgument;
  const noted = before();
  const ram = MappedRam.fromFd(noted ? inheritedFd(FD)! : 3);
  if (noted) {
    const first = ram.bytes(0, 1).slice();
    const readAt = now();
    const { exec, node, modules } = startPhases(noted.execAt, bodyAt);
    const start = exec + node + modules + (readAt - bodyAt);
    say({
      start,
      ...(reads && first.length > 0 ? { readAll: readData(ram, size) } : {}),
    } satisfies BareStart);
  }
  say({});
  if (await awaitGo()) {
    Array.from(ram.dropPageTables());
    noteExec(() => ({}));
    const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    replaceProcess({ args, env: { ...process.env, [FD]: String(ram.fd) }, keepFds: [ram.fd] });
  }
  ram.close();
}

/**
 * The first read of as many bytes as the service reads, of those that are there: a read of a hole
 * would make memory.
 */
function readData(ram: MappedRam, size: number): number {
  const pieces = ram.dataPieces();
  const start = now();
  let left = size;
  for (const { pa, length } of pieces) {
    if (left > 0) left -= readBytes(ram.bytes(pa, Math.min(length, left)));
  }
  return now() - start;
}
