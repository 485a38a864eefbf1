/**
 * A program that preserves a file for the first and only time, as most do: every function on the
 * way is met for the first time by the JavaScript engine.
 */
import { Machine } from '@liveupdate/kexec';
import { copyTarget, copyTo, timed } from './baselines.ts';
import { argument, say, tellFailures } from './child-side.ts';
import { makeFiles, ramSizeFor, touchBytes, type Workload } from './workload.ts';

/** What the program is told. */
export interface FirstUseArgument {
  readonly size: number;
  readonly workload: Workload;
}

/** Milliseconds. */
export interface FirstUse {
  readonly preserve: number;
  readonly unpreserve: number;
  readonly copy: number;
}

tellFailures();
const { size, workload } = argument() as FirstUseArgument;
const machine = await Machine.open({ size: ramSizeFor(size) });
const [file] = makeFiles(machine.kernel.shmem, workload, size);
for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve)); // as any program has
const session = machine.kernel.luo.createSession('bench');
const preserve = await timed(() => session.preserve(file, 1));
const unpreserve = await timed(() => session.unpreserve(1));
using target = copyTarget(size);
using mapped = file.map();
touchBytes(mapped.bytes);
copyTo(target, mapped.bytes); // as often as in the other trials: what counts finds memory that is there
const copy = await timed(() => {
  copyTo(target, mapped.bytes);
});
say({ preserve, unpreserve, copy } satisfies FirstUse);
