/**
 * The checks of `doctor`: from facts about the host to a verdict and an advice for each. Nothing is
 * looked at here but what is passed in.
 */
import { formatSize } from '@liveupdate/base';
import type { HostFacts } from '@liveupdate/linux';
import { DEMO_FILES, filesThatFit } from './demo-size.ts';

/**
 * `ok`; `note`: it works, with a limit; `missing`: live updates cannot run, or that part of them.
 */
export type CheckStatus = 'ok' | 'note' | 'missing';

interface Check {
  /** Stable, for programs. */
  readonly id: string;
  readonly status: CheckStatus;
  /** What was found. */
  readonly finding: string;
  /** What to do about it; empty where there is nothing to do. */
  readonly advice: string;
  /** Whether live updates cannot run at all while this is missing. */
  readonly required: boolean;
}

export interface Report {
  readonly checks: readonly Check[];
  /** Whether live updates can run here. */
  readonly canRun: boolean;
  /** Bytes of the largest demo; 0 where there is no room for any. */
  readonly largestDemo: number;
}

/** Memory that the demo's processes take outside RAM. */
const PROCESS_MEMORY = 256 * 2 ** 20;
/** The number of mappings that Linux allows unless told otherwise. */
const USUAL_MAPPINGS = 65_530;
const LEAST_DEMO = 16 * 2 ** 20;

function ok(id: string, finding: string, required = false): Check {
  return { id, status: 'ok', finding, advice: '', required };
}

function note(id: string, finding: string, advice: string): Check {
  return { id, status: 'note', finding, advice, required: false };
}

function missing(id: string, finding: string, advice: string, required: boolean): Check {
  return { id, status: 'missing', finding, advice, required };
}

function platform({ platform: name, arch, kernel }: HostFacts): Check {
  const what = `${name} ${kernel ?? ''} on ${arch}`.replace('  ', ' ');
  return name === 'linux' && (arch === 'x64' || arch === 'arm64')
    ? ok('platform', what, true)
    : missing('platform', what, 'run on Linux, on x64 or arm64', true);
}

function node({ node: { version, execve } }: HostFacts): Check {
  return execve
    ? ok('node', `Node ${version}, can replace itself (process.execve)`, true)
    : missing('node', `Node ${version} cannot replace itself`, 'use Node 22.15, 23.11 or newer', true);
}

/** What was tried on this host. */
export interface Tried {
  /** What mapping a memory file threw; undefined where it worked. */
  readonly mappingFailure: string | undefined;
  /** Whether RAM got a huge page. */
  readonly hugePage: boolean;
  /** Mappings that the views of one process may have; the rest is left to the engine and others. */
  readonly viewMappings: number;
}

/** @param failure what mapping a memory file threw; undefined where it worked */
function mapping(failure: string | undefined): Check {
  return failure === undefined
    ? ok('mapping', 'memory can be mapped (koffi, memfd, mmap)', true)
    : missing(
        'mapping',
        `memory cannot be mapped: ${failure}`,
        'install koffi for this platform: remove node_modules and install again without --omit=optional',
        true,
      );
}

function shm({ shm: mount }: HostFacts): Check {
  if (!mount)
    return missing(
      'shm',
      '/dev/shm is not mounted',
      'as root: mount -t tmpfs -o mode=1777 tmpfs /dev/shm; in a container: --shm-size 4g',
      true,
    );
  const fits = filesThatFit(mount.free, DEMO_FILES);
  const what = `/dev/shm (${mount.type}) has ${formatSize(mount.free)} free of ${formatSize(mount.size)}`;
  const advice = 'as root: mount -o remount,size=4G /dev/shm; in a container: --shm-size 4g';
  return fits < LEAST_DEMO
    ? missing('shm', what, `make room, or enlarge it (${advice})`, true)
    : ok('shm', `${what}: room for ${formatSize(fits)} in files`, true);
}

function memory({ memory: { total, available }, cgroupMemoryMax }: HostFacts): Check {
  if (total === undefined || available === undefined)
    return note('memory', 'the memory of this host is unknown', 'mount /proc');
  const what = `${formatSize(available)} of memory available of ${formatSize(total)}`;
  if (cgroupMemoryMax !== undefined && cgroupMemoryMax < total)
    return note(
      'memory',
      `${what}; this control group may use ${formatSize(cgroupMemoryMax)}`,
      'RAM counts against it, and who exceeds it is killed: raise memory.max (containers: --memory) for larger RAM',
    );
  return ok('memory', what);
}

/** Whatever the settings of transparent huge pages say: RAM asks for each of them. */
function hugePages(gotOne: boolean, { kernel }: HostFacts): Check {
  return gotOne
    ? ok('huge-pages', 'large files lie in huge pages of the system')
    : note(
        'huge-pages',
        `this system gives no huge pages for RAM now (Linux ${kernel ?? '?'})`,
        'everything works in 4 KiB pages too, and takes longer to touch; Linux 6.1 or newer with CONFIG_TRANSPARENT_HUGEPAGE has them, where memory is not too scattered',
      );
}

function hugetlb({ hugetlb: { total, free, pageSize } }: HostFacts): Check {
  if (total === undefined || free === undefined || pageSize === undefined)
    return note('hugetlb', 'this kernel has no pool of huge pages', 'nothing needs it');
  if (total === 0)
    return note(
      'hugetlb',
      'the pool of huge pages is empty',
      'only RAM on hugetlb memory needs it; as root: sysctl vm.nr_hugepages=1024',
    );
  return ok('hugetlb', `${free} of ${total} huge pages of ${formatSize(pageSize)} free`);
}

function mappings({ maxMapCount }: HostFacts, ofViews: number): Check {
  if (maxMapCount === undefined) return note('mappings', 'vm.max_map_count is unknown', 'mount /proc');
  if (maxMapCount < USUAL_MAPPINGS)
    return note(
      'mappings',
      `a process may have ${maxMapCount} mappings, its views ${ofViews} of them`,
      `contiguous views over many scattered folios need one each; as root: sysctl vm.max_map_count=${USUAL_MAPPINGS}`,
    );
  return ok(
    'mappings',
    `a process may have ${maxMapCount} mappings (vm.max_map_count), its views ${ofViews} of them`,
  );
}

function overcommit({ overcommit: mode }: HostFacts): Check {
  return mode === 'never'
    ? note(
        'overcommit',
        'vm.overcommit_memory=2: memory is accounted before it is used',
        'large RAM may be refused although it is sparse; as root: sysctl vm.overcommit_memory=0',
      )
    : ok('overcommit', `sparse memory costs what is used (overcommit: ${mode ?? 'unknown'})`);
}

function device({ liveupdate }: HostFacts): Check {
  if (liveupdate === 'open')
    return ok('device', "/dev/liveupdate, the kernel's own live update, can be opened");
  if (liveupdate === 'EBUSY')
    return note('device', '/dev/liveupdate is in use by another program', 'it has one owner at a time');
  if (liveupdate === 'ENOENT' || liveupdate === 'ENXIO' || liveupdate === 'ENODEV')
    return note(
      'device',
      "this kernel has no /dev/liveupdate: the kernel's own live update is not here",
      'nothing here needs it; to have it: Linux 6.19 or newer with CONFIG_LIVEUPDATE, booted with kho=on liveupdate=on',
    );
  return note(
    'device',
    `/dev/liveupdate cannot be opened (${liveupdate})`,
    'nothing here needs it; to use it, run as root',
  );
}

/** Bytes that a demo's RAM may take: what /dev/shm, the memory and the control group leave. */
export function roomForDemo({ shm: mount, memory: { available }, cgroupMemoryMax }: HostFacts): number {
  return Math.min(
    mount?.free ?? 0,
    (available ?? Number.POSITIVE_INFINITY) - PROCESS_MEMORY,
    (cgroupMemoryMax ?? Number.POSITIVE_INFINITY) - PROCESS_MEMORY,
  );
}

/**
 * All checks. What a Node.js that is too old could not try is left out: another Node.js is the only
 * advice then.
 */
export function checkHost(facts: HostFacts, { mappingFailure, hugePage, viewMappings }: Tried): Report {
  const checks = [
    platform(facts),
    node(facts),
    ...(facts.node.execve ? [mapping(mappingFailure)] : []),
    shm(facts),
    memory(facts),
    ...(facts.node.execve ? [hugePages(hugePage, facts)] : []),
    hugetlb(facts),
    mappings(facts, viewMappings),
    overcommit(facts),
    device(facts),
  ];
  const canRun = checks.every(({ required, status }) => !required || status !== 'missing');
  return { checks, canRun, largestDemo: canRun ? filesThatFit(roomForDemo(facts), DEMO_FILES) : 0 };
}
