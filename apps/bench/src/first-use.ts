/**
 * A program that preserves a file for the first and only time, as most do: every function on the way is met for the first time by the
 * JavaScript engine. It also tells what memory that takes outside RAM.
 */
import { Machine } from '@liveupdate/kexec';
import { MappedRam } from '@liveupdate/linux';
import { copy, timed } from './baselines.ts';
import { say, statusBytes } from './child-side.ts';
import { fillFile } from './fill-file.ts';
import { ramSizeFor } from './machine-size.ts';

export interface FirstUse {
  /** Milliseconds. */
  readonly preserve: number;
  readonly unpreserve: number;
  readonly copy: number;
  /** Bytes of private memory with the file preserved. */
  readonly anonymous: number;
  /** Bytes of RAM. */
  readonly ram: number;
}

const size = Number(process.argv[2]);
const machine = await Machine.open({ size: ramSizeFor(size) });
const file = machine.kernel.shmem.memfdCreate('bench');
fillFile(file, size);
const session = machine.kernel.luo.createSession('bench');
const preserve = await timed(() => session.preserve(file, 1));
const anonymous = statusBytes('RssAnon');
const unpreserve = await timed(() => session.unpreserve(1));
using target = MappedRam.anonymous({ name: 'liveupdate-bench-copy', size });
target.populate(0, size);
using mapped = file.map();
const copied = await timed(() => {
  copy(target.bytes(0, size), mapped.bytes);
});
say({ preserve, unpreserve, copy: copied, anonymous, ram: machine.ram.size } satisfies FirstUse);
