/**
 * A service with one file in memory that is replaced whenever the parent says so, and tells how long each part of it took, until the next
 * generation has read the first byte of the file. It imports what a service would, and next to nothing for the measuring.
 */
import { Machine } from '@liveupdate/kexec';
import { ShmemFile } from '@liveupdate/shmem';
import { argument, awaitGo, before, noteExec, now, say, startPhases } from './child-side.ts';
import { makeFiles, readBytes, touchBytes, type Workload } from './workload.ts';

const bodyAt = now();

/** What the service is told. */
export interface ServiceArgument {
  readonly size: number;
  readonly workload: Workload;
  /** Whether each generation reads the whole file when it stands. */
  readonly reads: boolean;
}

/** Milliseconds, one after the other, of which `BLACKOUT_PHASES` are the blackout; and after that `finish` and perhaps `readAll`. */
export interface Replacement {
  readonly preserve: number;
  readonly seal: number;
  readonly exec: number;
  readonly node: number;
  readonly modules: number;
  readonly open: number;
  readonly retrieve: number;
  readonly read: number;
  readonly finish: number;
  readonly readAll?: number;
}

void main();

async function main(): Promise<void> {
  const { size, workload, reads } = argument() as ServiceArgument;
  const noted = before();
  // The parent's descriptor 3 is the RAM, in every generation.
  const machine = await Machine.open({ fd: 3 });
  const openAt = now();
  const { luo, shmem } = machine.kernel;
  let file: ShmemFile;
  if (noted) {
    const session = luo.retrieveSession('bench');
    file = await session.retrieve(1, ShmemFile);
    const retrieveAt = now();
    const first = new Uint8Array(1);
    file.pread(first, 0);
    const readAt = now();
    await session.finish();
    const finishAt = now();
    const phases = startPhases(noted.execAt, bodyAt);
    say({
      preserve: noted.preserve,
      seal: noted.execAt - Number(machine.kexecStart) / 1e6,
      ...phases,
      open: openAt - bodyAt,
      retrieve: retrieveAt - openAt,
      read: readAt - retrieveAt,
      finish: finishAt - readAt,
      ...(reads ? { readAll: readFile(file) } : {}),
    } satisfies Replacement);
    if (!reads) touchBytes(file.map().bytes);
  } else {
    [file] = makeFiles(shmem, workload, size);
  }
  // Turns of the event loop in which nobody waits, as any service has before it is replaced.
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  say({}); // from here on it does nothing that could disturb what is measured next
  if (await awaitGo()) {
    const start = now();
    await luo.createSession('bench').preserve(file, 1);
    noteExec({ preserve: now() - start });
    await machine.kexec();
  }
  machine.close();
}

/**
 * The first read of all bytes: every page has to come into this process's page tables. The mapping stays, as a service's does, and is taken down
 * with the process.
 */
function readFile(of: ShmemFile): number {
  const { bytes } = of.map();
  const start = now();
  readBytes(bytes);
  return now() - start;
}
