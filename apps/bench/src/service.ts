/**
 * A service with one file in memory that is replaced whenever the parent says so, and tells how
 * long each part of it took, until the next generation has read the first byte of the file. It
 * imports what a service would, and next to nothing for the measuring.
 */
import { Machine } from '@liveupdate/kexec';
import { ShmemFile, type ShmemMapping } from '@liveupdate/shmem';
import {
  argument,
  awaitGo,
  before,
  noteExec,
  now,
  onReplace,
  say,
  startPhases,
  statusBytes,
  tellFailures,
} from './child-side.ts';
import { makeFiles, readBytes, touchBytes, type Workload } from './workload.ts';

const bodyAt = now();
tellFailures();

/** What the service is told. */
export interface ServiceArgument {
  readonly size: number;
  readonly workload: Workload;
  /** Whether each generation reads the whole file when it stands. */
  readonly reads: boolean;
  /** Which part of the file is touched again between the freeze and exec; default none. */
  readonly touchesAgain?: number;
}

/**
 * Milliseconds, one after the other, of which `BLACKOUT_PHASES` are the blackout; and after that
 * `finish` and perhaps `readAll`.
 */
export interface Replacement {
  readonly preserve: number;
  /**
   * From the call of kexec to the freeze, and the longest time in it in which nothing else had a
   * turn.
   */
  readonly callToFreeze: number;
  readonly stall: number;
  /** Bytes in page tables at the call. */
  readonly inTables: number;
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
  const { size, workload, reads, touchesAgain = 0 } = argument() as ServiceArgument;
  const noted = before();
  // The parent's descriptor 3 is the RAM, in every generation.
  const machine = await Machine.open({ fd: 3 });
  const openAt = now();
  const { luo, shmem } = machine.kernel;
  let file: ShmemFile;
  let mapped: ShmemMapping;
  if (noted) {
    const session = luo.retrieveSession('bench');
    file = await session.retrieve(1, ShmemFile);
    const retrieveAt = now();
    const first = new Uint8Array(1);
    file.pread(first, 0);
    const readAt = now();
    await session.finish();
    const finishAt = now();
    // The mapping stays, as a service's does.
    mapped = file.map();
    if (reads) readBytes(mapped.bytes);
    const readAllAt = now();
    if (!reads) touchBytes(mapped.bytes);
    const frozenAt = Number(machine.kexecFrozen) / 1e6;
    say({
      preserve: noted.preserve,
      callToFreeze: frozenAt - Number(machine.kexecStart) / 1e6,
      stall: Math.max(noted.stall, frozenAt - noted.lastTurn),
      inTables: noted.inTables,
      seal: noted.execAt - frozenAt,
      ...startPhases(noted.execAt, bodyAt),
      open: openAt - bodyAt,
      retrieve: retrieveAt - openAt,
      read: readAt - retrieveAt,
      finish: finishAt - readAt,
      ...(reads ? { readAll: readAllAt - finishAt } : {}),
    } satisfies Replacement);
  } else {
    [file] = makeFiles(shmem, workload, size);
    mapped = file.map();
    touchBytes(mapped.bytes);
  }
  // Turns of the event loop in which nobody waits, as any service has before it is replaced.
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  say({}); // from here on it does nothing that could disturb what is measured next
  if (await awaitGo()) {
    const inTables = statusBytes('RssShmem');
    const start = now();
    await luo.createSession('bench').preserve(file, 1);
    const preserve = now() - start;
    if (touchesAgain > 0) onReplace(() => touchBytes(mapped.bytes.subarray(0, touchesAgain * size)));
    const turns = watchTurns(() => luo.state === 'running');
    noteExec(() => ({ preserve, inTables, ...turns() }));
    await machine.kexec();
  }
  machine.close();
}

/**
 * Watches the event loop for as long as the service serves: the longest time without a turn, and
 * the last turn.
 */
function watchTurns(serves: () => boolean): () => { stall: number; lastTurn: number } {
  let lastTurn = now();
  let stall = 0;
  const turn = (): void => {
    if (!serves()) return;
    const at = now();
    stall = Math.max(stall, at - lastTurn);
    lastTurn = at;
    setImmediate(turn);
  };
  setImmediate(turn);
  return () => ({ stall, lastTurn });
}
