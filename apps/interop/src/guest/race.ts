/**
 * Linux's own preserve and retrieve of memfds, beside ours on the same machine and beside a copy of
 * the same bytes. All three take turns. The kernels after the first measure Linux's retrieve.
 */
import * as fs from 'node:fs';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { Machine } from '@liveupdate/kexec';
import { Memfd } from '@liveupdate/linux';
import { ShmemFile } from '@liveupdate/shmem';
import { FIRST, RACES, type RaceKind } from './race-kinds.ts';
import { replaceKernel } from './replace-kernel.ts';
import { report } from './report.ts';

const { GUEST_STAGE = '1' } = process.env;
const MiB = 2 ** 20;
/** A copy of more would need more memory than the guest has. */
const COPIED = 256 * MiB;
const PRESERVES = 160;
const RETRIEVES = 20;
/** Kernels. */
const STAGES = 4;
const HUGE = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
const stage = Number(GUEST_STAGE);

/** Tells how long it took, in milliseconds. */
async function lap<T>(kind: RaceKind, what: string, work: () => T | Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work();
  report('lap', { kind: kind.name, what, ms: performance.now() - start });
  return result;
}

function fill(bytes: number, write: (part: Uint8Array, at: number) => void): void {
  const part = new Uint8Array(2 * MiB).fill(7);
  for (let at = 0; at < bytes; at += part.length) write(part, at);
}

/** A file of Linux in folios of a kind. */
function fileOfLinux(kind: RaceKind): Memfd {
  fs.writeFileSync(HUGE, isHuge(kind) ? 'always' : 'never');
  const file = Memfd.create('race', 0);
  fill(kind.bytes, (part, at) => file.write([part], at));
  return file;
}

const isHuge = ({ folio }: RaceKind): boolean => folio > 4096;

const openMachine = ({ bytes }: RaceKind): Promise<Machine> =>
  Machine.open({ path: '/dev/shm/race', size: bytes + 64 * MiB });

/** Preserves in turn: Linux, ours, and a copy. */
async function preserve(kind: RaceKind, theirs: Memfd): Promise<void> {
  using device = openDevice();
  let machine = await openMachine(kind);
  let ours = machine.kernel.shmem.memfdCreate('race');
  if (isHuge(kind)) ours.adviseHuge();
  fill(kind.bytes, (part, at) => ours.pwrite(part, at));
  const from = new Uint8Array(COPIED).fill(7);
  const to = new Uint8Array(COPIED).fill(1);
  const race = async (round: number, what: string): Promise<void> => {
    using session = device.createSession(`round ${round}`);
    await lap(kind, `${what}, Linux`, () => {
      session.preserveFd(theirs.fd, 1);
    });
    const own = machine.kernel.luo.createSession('race');
    await lap(kind, `${what}, here`, () => own.preserve(ours, 1));
    await own.close();
  };
  await race(0, FIRST);
  // As the kernel that it races with, ours goes on and preserves again.
  for (let round = 0; round < PRESERVES; round++) {
    await race(round, 'preserve');
    if (round % 8 === 0)
      await lap(kind, 'copy', () => {
        to.set(from);
      });
  }
  // A retrieve needs a next generation.
  for (let round = 0; round < RETRIEVES; round++) {
    await machine.kernel.luo.createSession('race').preserve(ours, 1);
    await machine.handOver();
    machine = await openMachine(kind);
    const came = machine.kernel.luo.retrieveSession('race');
    ours = await lap(kind, 'retrieve, here', () => came.retrieve(1, ShmemFile));
    await came.finish();
  }
  machine.remove();
}

/** What goes through all kernels: a session with a file of each kind. */
const files = new Map<RaceKind, Memfd>();
if (stage === 1) {
  for (const kind of RACES) {
    const file = fileOfLinux(kind);
    await preserve(kind, file);
    files.set(kind, file);
  }
} else {
  using device = openDevice();
  using session = device.retrieveSession('race');
  for (const [i, kind] of RACES.entries()) {
    const fd = await lap(kind, 'retrieve, Linux', () => session.retrieveFd(i));
    files.set(kind, Memfd.of(fd));
  }
  session.finish();
}
if (stage < STAGES) {
  using device = openDevice();
  const held: DeviceSession[] = [device.createSession('race')];
  for (const [i, kind] of RACES.entries()) held[0].preserveFd(files.get(kind)?.fd ?? -1, i);
  replaceKernel({ GUEST_STAGE: stage + 1 });
}
report('raced');
