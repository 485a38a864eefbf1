/** The table of what is measured: trials, and the figures that come of them with their goals. */
import { alternatives } from './alternatives.ts';
import type { Figure } from './figure.ts';
import { generations } from './generations.ts';
import { KILL_FIGURES, KILL_TRIALS } from './kill-trial.ts';
import { KHO_FIGURES, KHO_TRIALS } from './kho-trials.ts';
import { DEATH_FIGURES, DEATH_TRIALS } from './death-trials.ts';
import { LUO_FIGURES, LUO_TRIALS } from './luo-trials.ts';
import { MAP_FIGURES, MAP_TRIALS } from './map-trials.ts';
import { firstUse, growth, memory, replacement, touchedAgain } from './processes.ts';
import type { Trial } from './runner.ts';
import { SHMEM_FIGURES, SHMEM_TRIALS } from './shmem-trials.ts';
import { STORED_MAP_FIGURES } from './stored-map-figures.ts';
import { STORED_MAP_TRIALS } from './stored-map-trials.ts';
import { UPGRADE_FIGURES, UPGRADE_TRIALS } from './upgrade-trial.ts';
import { HUGE, MEDIUM, missingRam, SMALL, type Workload } from './workload.ts';

const GiB = 2 ** 30;

/** Generations in one process, of a workload. */
function inProcess(name: string, title: string, workload: Workload): Trial {
  return {
    name,
    title: `generations in one process, ${title}`,
    memory: (size) => size + Math.min(size, GiB),
    missing: (size) => missingRam(workload, size),
    prepare: generations(workload),
  };
}

/** A service that is replaced. Its memory is there once: the bare program maps the same. */
function replaced(name: string, title: string, workload: Workload, reads = true): Trial {
  const memory = (size: number): number => size;
  return {
    name,
    title: `a service that is replaced, ${title}`,
    memory,
    prepare: replacement(workload, reads),
  };
}

/** A whole live update beside the alternatives: how many times the bytes are there at the most. */
const BESIDE = { kept: 7, alternatives: 6.5 } as const;

export const TRIALS: readonly Trial[] = [
  { ...inProcess('small', '4 KiB folios', SMALL), sizes: 'series' },
  inProcess('medium', '64 KiB folios', MEDIUM),
  { ...inProcess('huge', '2 MiB folios', HUGE), sizes: 'series', leastRounds: 9 },
  inProcess('files', '4 KiB folios, 4096 files', { ...SMALL, files: 4096 }),
  inProcess('sparse', '4 KiB folios, sparse', { ...SMALL, content: 'sparse' }),
  { ...inProcess('medium-files', '64 KiB folios, 1024 files', { ...MEDIUM, files: 1024 }), extra: true },
  { ...inProcess('sparse-huge', '2 MiB folios, sparse', { ...HUGE, content: 'sparse' }), extra: true },
  { ...inProcess('small-shm', '4 KiB folios, /dev/shm', { ...SMALL, ram: 'shm' }), extra: true },
  { ...inProcess('huge-shm', '2 MiB folios, /dev/shm', { ...HUGE, ram: 'shm' }), extra: true },
  { ...inProcess('small-hugetlb', '4 KiB folios, hugetlb', { ...SMALL, ram: 'hugetlb' }), extra: true },
  { ...inProcess('huge-hugetlb', '2 MiB folios, hugetlb', { ...HUGE, ram: 'hugetlb' }), extra: true },
  {
    name: 'first',
    title: 'a program that preserves for the first time, 4 KiB folios',
    prepare: firstUse(SMALL),
  },
  {
    name: 'first-huge',
    title: 'a program that preserves for the first time, 2 MiB folios',
    prepare: firstUse(HUGE),
  },
  { ...replaced('replace', '4 KiB folios', SMALL), sizes: 'series' },
  { ...replaced('replace-huge', '2 MiB folios', HUGE), sizes: 'series' },
  { ...replaced('replace-8g', '8 GiB in 2 MiB folios', HUGE, false), sizes: 8 * GiB, leastRounds: 11 },
  {
    name: 'growth',
    title: 'two services of different size, 4 KiB folios',
    leastRounds: 15,
    sizes: 16 * GiB,
    extra: true,
    memory: (size) => 1.1 * size,
    prepare: growth(SMALL),
  },
  {
    name: 'growth-huge',
    title: 'two services of different size, 2 MiB folios',
    leastRounds: 31,
    sizes: 16 * GiB,
    extra: true,
    memory: (size) => 1.1 * size,
    prepare: growth(HUGE),
  },
  {
    name: 'kept',
    title: 'a whole live update beside memory that others keep, 4 KiB folios',
    memory: (size) => BESIDE.kept * size,
    leastRounds: 9,
    prepare: alternatives(SMALL, ['bare', 'mapped', 'lmdb', 'sqlite', 'memcached', 'criu']),
  },
  {
    name: 'alternatives',
    title: 'a whole live update beside what moves all bytes, 4 KiB folios',
    memory: (size) => BESIDE.alternatives * size,
    leastRounds: 9,
    prepare: alternatives(SMALL, ['bare', 'copy', 'tmpfs', 'serialize', 'redis']),
  },
  {
    name: 'tmpfs-4g',
    title: 'a whole live update beside a tmpfs file, 4 GiB in 2 MiB folios',
    sizes: 4 * GiB,
    memory: (size) => 4.2 * size,
    leastRounds: 9,
    prepare: alternatives(HUGE, ['bare', 'mapped', 'tmpfs']),
  },
  {
    name: 'touched-again',
    title: 'a service that touches its memory again after that left the page tables, 4 KiB folios',
    memory: (size) => 3.2 * size,
    prepare: touchedAgain(SMALL),
  },
  {
    name: 'memory',
    title: 'private memory of a service that is replaced, 4 KiB folios',
    prepare: memory(SMALL),
  },
  ...KHO_TRIALS,
  ...LUO_TRIALS,
  ...DEATH_TRIALS,
  ...KILL_TRIALS,
  ...UPGRADE_TRIALS,
  ...SHMEM_TRIALS,
  ...MAP_TRIALS,
  ...STORED_MAP_TRIALS,
];

/** What a sum is made of stands in its name. */
const SUM = 'whole handover (preserve and blackout)';
const LONG_SUM = 'whole handover and call to freeze';
const FOUR_GIB = {
  bare: 'the bare program',
  mapped: 'a tmpfs file that is mapped again',
  tmpfs: 'a tmpfs file written and read',
} as const;

const COPIED = { against: 'copy', kind: 'faster' } as const;
const KEPT = { trial: 'kept', measured: 'handover', kind: 'faster' } as const;
const HANDOVER = { trial: 'alternatives', measured: 'handover', kind: 'faster' } as const;
/**
 * The same, and the time before the freeze in which RAM leaves the page tables and everything is
 * served.
 */
const ELAPSED = { trial: 'alternatives', measured: 'elapsed', kind: 'faster' } as const;
const FREEZE = {
  measured: 'callToFreeze',
  against: 'most callToFreeze',
  kind: 'longer',
  goal: 1,
} as const;
const STALL = { measured: 'stall', against: 'most stall', kind: 'longer', goal: 1 } as const;
const START = { measured: 'blackout', against: 'bare', kind: 'longer' } as const;
/**
 * What of it is ours: above an empty Node.js program, started and ended, which takes three times as
 * long on one machine as on another.
 */
const OURS = { measured: 'our blackout', against: 'empty', kind: 'longer', goal: 1 } as const;
const READ = { measured: 'readAll', against: 'bareReadAll', kind: 'longer', goal: 1.1 } as const;

/** What a whole handover is beside what one would do else: what flatters it least stands first. */
const WHOLE: readonly Figure[] = [
  { ...KEPT, title: `${SUM} against the bare program`, against: 'bare' },
  { ...KEPT, title: `${SUM} against a tmpfs file that is mapped again`, against: 'mapped' },
  { ...KEPT, title: `${SUM} against LMDB on tmpfs that is opened again`, against: 'lmdb' },
  { ...KEPT, title: `${SUM} against SQLite on tmpfs that is opened again`, against: 'sqlite' },
  { ...KEPT, title: `${SUM} against memcached -e that is restarted`, against: 'memcached' },
  { ...KEPT, title: `${SUM} against CRIU`, against: 'criu' },
  {
    trial: 'kept',
    title: `what of it is ours: ${SUM} less an empty program`,
    measured: 'our handover',
    against: 'empty',
    kind: 'longer',
    goal: 1,
  },
  { ...HANDOVER, title: `${SUM} against a copy in one process`, against: 'copy' },
  { ...ELAPSED, title: `${LONG_SUM} against a copy in one process`, against: 'copy' },
  { ...HANDOVER, title: `${SUM} against a tmpfs file written and read`, against: 'tmpfs' },
  { ...HANDOVER, title: `${SUM} against v8.serialize`, against: 'serialize' },
  { ...HANDOVER, title: `${SUM} against Redis saved and reloaded`, against: 'redis' },
  ...(['bare', 'mapped', 'tmpfs'] as const).map((against): Figure => ({
    ...HANDOVER,
    trial: 'tmpfs-4g',
    title: `${SUM}, 4 GiB in 2 MiB folios, against ${FOUR_GIB[against]}`,
    against,
  })),
  {
    ...ELAPSED,
    trial: 'tmpfs-4g',
    title: `${LONG_SUM}, 4 GiB in 2 MiB folios, against ${FOUR_GIB.tmpfs}`,
    against: 'tmpfs',
  },
  {
    ...HANDOVER,
    trial: 'tmpfs-4g',
    title: `what of it is ours, 4 GiB in 2 MiB folios, against ${FOUR_GIB.tmpfs}`,
    measured: 'our handover',
    against: 'tmpfs',
    goal: 50,
    goalSize: 4 * GiB,
  },
];

export const FIGURES: readonly Figure[] = [
  ...UPGRADE_FIGURES,
  ...WHOLE,
  {
    trial: 'small',
    title: 'preserve, 4 KiB folios',
    measured: 'preserve',
    ...COPIED,
    goal: 100,
  },
  {
    trial: 'small',
    title: 'preserve, 4 KiB folios, beside the records alone',
    measured: 'preserve',
    against: 'records',
    kind: 'longer',
    goal: 2,
  },
  {
    trial: 'small',
    title: 'preserve, 4 KiB folios, once after all bytes were read',
    measured: 'preserveOnce',
    ...COPIED,
  },
  { trial: 'small', title: 'unpreserve, 4 KiB folios', measured: 'unpreserve', ...COPIED },
  { trial: 'small', title: 'freeze and serialise, 4 KiB folios', measured: 'freeze', ...COPIED, sane: 1 },
  { trial: 'small', title: 'boot, 4 KiB folios', measured: 'boot', ...COPIED },
  {
    trial: 'small',
    title: 'retrieve, 4 KiB folios',
    measured: 'retrieve',
    ...COPIED,
    goal: 50,
  },
  { trial: 'small', title: 'finish, 4 KiB folios', measured: 'finish', ...COPIED, sane: 1 },
  { trial: 'first', title: 'first preserve of a process, 4 KiB folios', measured: 'preserve', ...COPIED },
  {
    trial: 'first-huge',
    title: 'first preserve of a process, 2 MiB folios',
    measured: 'preserve',
    ...COPIED,
  },
  { trial: 'medium', title: 'preserve, 64 KiB folios', measured: 'preserve', ...COPIED },
  { trial: 'medium', title: 'retrieve, 64 KiB folios', measured: 'retrieve', ...COPIED },
  {
    trial: 'huge',
    title: 'preserve, 2 MiB folios',
    measured: 'preserve',
    ...COPIED,
  },
  {
    trial: 'huge',
    size: 16 * GiB,
    title: 'preserve 16 GiB, 2 MiB folios',
    measured: 'preserve',
    ...COPIED,
    goal: 10_000,
  },
  {
    trial: 'huge',
    title: 'preserve, 2 MiB folios, once after all bytes were read',
    measured: 'preserveOnce',
    ...COPIED,
  },
  { trial: 'huge', title: 'unpreserve, 2 MiB folios', measured: 'unpreserve', ...COPIED, sane: 1 },
  { trial: 'huge', title: 'retrieve, 2 MiB folios', measured: 'retrieve', ...COPIED },
  {
    trial: 'files',
    title: 'preserve, 4096 files in one call, against 2 µs a file',
    measured: 'preserveAll',
    against: 'most preserve',
    kind: 'longer',
    goal: 1,
  },
  { trial: 'files', title: 'preserve, 4096 files', measured: 'preserve', ...COPIED },
  {
    trial: 'files',
    title: 'preserve, 4096 files in one call',
    measured: 'preserveAll',
    ...COPIED,
  },
  { trial: 'files', title: 'retrieve, 4096 files', measured: 'retrieve', ...COPIED },
  {
    trial: 'sparse',
    title: 'preserve, sparse',
    measured: 'preserve',
    ...COPIED,
    goal: 20,
  },
  { trial: 'replace', title: 'blackout, 4 KiB folios', ...START },
  { trial: 'replace-huge', title: 'blackout, 2 MiB folios', ...START },
  { trial: 'replace', title: 'what of the blackout is ours, 4 KiB folios', ...OURS },
  { trial: 'replace-huge', title: 'what of the blackout is ours, 2 MiB folios', ...OURS },
  {
    trial: 'replace-8g',
    title: 'what of the blackout is ours, 8 GiB in 2 MiB folios',
    ...OURS,
    goalSize: 8 * GiB,
  },
  {
    trial: 'replace-8g',
    title: 'blackout, 8 GiB in 2 MiB folios',
    ...START,
    goal: 1.5,
    goalSize: 8 * GiB,
    sane: 50,
  },
  {
    trial: 'growth-huge',
    title: 'blackout, 16 GiB against 64 MiB, 2 MiB folios',
    measured: 'most',
    against: 'least',
    kind: 'longer',
    goal: 1.1,
    goalSize: 16 * GiB,
  },
  {
    trial: 'growth',
    title: 'blackout, 16 GiB against 64 MiB, 4 KiB folios',
    measured: 'perGiB',
    against: 'least',
    kind: 'slope',
    goal: 10,
    goalSize: 16 * GiB,
  },
  {
    trial: 'replace',
    title: 'call to freeze, 4 KiB folios, against 60 ms per GiB in page tables',
    ...FREEZE,
  },
  {
    trial: 'replace-huge',
    title: 'call to freeze, 2 MiB folios, against 60 ms per GiB in page tables',
    ...FREEZE,
  },
  { trial: 'replace', title: 'longest stall from call to freeze, 4 KiB folios, against 2 ms', ...STALL },
  { trial: 'replace-huge', title: 'longest stall from call to freeze, 2 MiB folios, against 2 ms', ...STALL },
  {
    trial: 'touched-again',
    title: 'exec, all touched again since page tables were dropped',
    measured: 'all',
    against: 'none',
    kind: 'longer',
  },
  {
    trial: 'touched-again',
    title: 'exec, half touched again since page tables were dropped',
    measured: 'half',
    against: 'none',
    kind: 'longer',
  },
  { trial: 'replace', title: 'first read of all bytes, 4 KiB folios', ...READ, sane: 20 },
  {
    trial: 'replace-huge',
    title: 'first read of all bytes, 2 MiB folios',
    ...READ,
    sane: 20,
  },
  {
    trial: 'memory',
    title: 'memory outside RAM at the peak',
    measured: 'outside',
    against: 'bytes',
    kind: 'share',
    goal: 1,
  },
  ...KHO_FIGURES,
  ...LUO_FIGURES,
  ...DEATH_FIGURES,
  ...KILL_FIGURES,
  ...SHMEM_FIGURES,
  ...MAP_FIGURES,
  ...STORED_MAP_FIGURES,
];
