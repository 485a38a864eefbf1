/**
 * A program that preserves a file for the first and only time, as most do: every function on the way is met for the first time by the
 * JavaScript engine.
 */
import { Machine } from '@liveupdate/kexec';
import { copyTarget, copyTo, timed } from './baselines.ts';
import { argument, say } from './child-side.ts';
import { makeFiles, ramSizeFor, SMALL } from './workload.ts';

/** Milliseconds. */
export interface FirstUse {
  readonly preserve: number;
  readonly unpreserve: number;
  readonly copy: number;
}

const { size } = argument() as { readonly size: number };
const machine = await Machine.open({ size: ramSizeFor(size) });
const [file] = makeFiles(machine.kernel.shmem, SMALL, size);
const session = machine.kernel.luo.createSession('bench');
const preserve = await timed(() => session.preserve(file, 1));
const unpreserve = await timed(() => session.unpreserve(1));
using target = copyTarget(size);
using mapped = file.map();
const copy = await timed(() => {
  copyTo(target, mapped.bytes);
});
say({ preserve, unpreserve, copy } satisfies FirstUse);
