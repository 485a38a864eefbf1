/**
 * A service with one file in memory that is replaced whenever the parent says so, and tells how long it was away: from the call of kexec in
 * one generation until the next has read the first byte of the file. It imports what a service would, and nothing for the measuring.
 */
import { performance } from 'node:perf_hooks';
import { Machine } from '@liveupdate/kexec';
import { ShmemFile } from '@liveupdate/shmem';
import { awaitGo, say } from './child-side.ts';
import { fillFile, touchFile } from './fill-file.ts';
import { ramSizeFor } from './machine-size.ts';

const bodyAt = process.hrtime.bigint();

/** Milliseconds, one after the other; their sum is the blackout. */
export interface Blackout {
  /** Files frozen, records written, the boot page sealed. */
  readonly seal: number;
  /** The kernel takes the old program down and loads Node. */
  readonly exec: number;
  /** Node and its JavaScript engine start. */
  readonly node: number;
  /** The service's modules are found, compiled and run. */
  readonly modules: number;
  /** Machine.open. */
  readonly open: number;
  readonly retrieve: number;
  /** The first byte is read. */
  readonly read: number;
}

/** Environment variable by which a generation learns when the one before called execve. */
const EXEC_AT = 'LIVEUPDATE_BENCH_EXEC_AT';

const [size, huge] = [Number(process.argv[2]), process.argv[3] === 'huge'];
const machine = await Machine.open({ size: ramSizeFor(size) });
const openAt = process.hrtime.bigint();
const { luo, shmem } = machine.kernel;
let file: ShmemFile;
if (machine.origin === 'cold') {
  file = shmem.memfdCreate('bench');
  if (huge) file.adviseHuge();
  fillFile(file, size);
} else {
  const session = luo.retrieveSession('bench');
  file = await session.retrieve(1, ShmemFile);
  const retrieveAt = process.hrtime.bigint();
  file.pread(new Uint8Array(1), 0);
  const readAt = process.hrtime.bigint();
  report(retrieveAt, readAt);
  await session.finish();
  touchFile(file); // the generation before had all of it in use, so has this one before it goes
}
say({}); // from here on it does nothing that could disturb what is measured next
if (awaitGo()) {
  await luo.createSession('bench').preserve(file, 1);
  noteExec();
  await machine.kexec();
}
machine.close();

function report(retrieveAt: bigint, readAt: bigint): void {
  const origin = process.hrtime.bigint() - BigInt(Math.round(performance.now() * 1e6));
  const since = (at: bigint): number => Number(at - machine.kexecStart) / 1e6;
  const { nodeStart, bootstrapComplete } = performance.nodeTiming;
  const execAt = since(BigInt(process.env[EXEC_AT] ?? 0));
  const startAt = since(origin) + nodeStart;
  const bootAt = since(origin) + bootstrapComplete;
  say({
    seal: execAt,
    exec: startAt - execAt,
    node: bootAt - startAt,
    modules: since(bodyAt) - bootAt,
    open: since(openAt) - since(bodyAt),
    retrieve: since(retrieveAt) - since(openAt),
    read: since(readAt) - since(retrieveAt),
  } satisfies Blackout);
}

/** Notes the moment of execve itself: what is before it is ours, what is after it is the kernel's. */
function noteExec(): void {
  const execve = process.execve?.bind(process);
  if (!execve) throw new Error('this Node cannot replace itself: use 22.15 or newer');
  process.execve = (program, args, env) =>
    execve(program, args, { ...env, [EXEC_AT]: String(process.hrtime.bigint()) });
}
