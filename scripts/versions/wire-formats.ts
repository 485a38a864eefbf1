/**
 * The formats that packages write into memory for a next kernel, and since which version: the rule
 * that a package which writes another format is a new major, as code. What is written is a promise
 * to programs that are not updated at the same time.
 *
 * Rows are added, never changed: a row that was released tells what is out there.
 */

/** Constants by name, as the package's source has them. */
export type Formats = Readonly<Record<string, string | number>>;

export interface Row {
  /** The first version that writes these. */
  readonly since: string;
  readonly writes: Formats;
}

const WIRE_FORMATS: Readonly<Record<string, readonly Row[]>> = {
  '@liveupdate/kho': [
    {
      since: '0.1.0',
      writes: { KHO_COMPATIBLE: 'kho-v4', KEXEC_METADATA_VERSION: 1, LIVE_VERSION: 1, RESIDENCY_VERSION: 1 },
    },
  ],
  '@liveupdate/luo-core': [{ since: '0.1.0', writes: { LUO_COMPATIBLE: 'luo-v5' } }],
  '@liveupdate/memfd-handler': [{ since: '0.1.0', writes: { MEMFD_V2: 'memfd-v2' } }],
  '@liveupdate/eventfd-handler': [{ since: '0.1.0', writes: { EVENTFD_V1: 'eventfd-v1' } }],
  '@liveupdate/fd-handler': [{ since: '0.1.0', writes: { FD_V1: 'fd-v1' } }],
  '@liveupdate/kexec': [{ since: '0.1.0', writes: { BOOT_PAGE_VERSION: 2 } }],
  '@liveupdate/map': [{ since: '0.1.0', writes: { MAP_VERSION: 1 } }],
};

/** Formats that are read only: another one may come in a minor. */
export const READ_ONLY: readonly string[] = ['MEMFD_V1'];

/**
 * A package, the version that it was released with last, and the one that the pending changesets
 * make.
 */
export interface Release {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Packages below it, at any depth. */
  readonly below: readonly string[];
  /** What its source says that it writes. */
  readonly writes: Formats;
}

const parts = (version: string) => version.split('.').map(Number);

/** Negative where `a` is older than `b`. */
function compare(a: string, b: string): number {
  const [left, right] = [parts(a), parts(b)];
  const at = left.findIndex((part, i) => part !== right[i]);
  return at < 0 ? 0 : left[at] - right[at];
}

/**
 * Whether `to` is outside of the caret range of `from`: another major, or before 1.0 another minor.
 */
export function isBreaking(from: string, to: string): boolean {
  const [left, right] = [parts(from), parts(to)];
  const significant = left.findIndex((part) => part > 0); // 0.0.0 stands for not released yet
  return left.slice(0, significant + 1).some((part, i) => part !== right[i]);
}

function inForce(rows: readonly Row[], version: string): Row | undefined {
  return rows.findLast(({ since }) => compare(since, version) <= 0);
}

const text = (formats: Formats = {}) =>
  Object.entries(formats)
    .map(([name, value]) => `${name} ${value}`)
    .sort()
    .join(', ') || 'nothing';

/** What is against the rule: a sentence for each. */
export function breaches(
  releases: readonly Release[],
  table: Readonly<Record<string, readonly Row[]>> = WIRE_FORMATS,
): string[] {
  const found: string[] = [];
  const changed = new Set<string>();
  for (const { name, from, to, writes } of releases) {
    const rows = table[name] ?? [];
    for (const [i, { since }] of rows.entries()) {
      if (i > 0 && !isBreaking(rows[i - 1].since, since))
        found.push(`${name}: another format since ${since} is no new major after ${rows[i - 1].since}`);
    }
    const [before, now] = [inForce(rows, from), inForce(rows, to)];
    if (before && before !== now) changed.add(name);
    if (text(writes) !== text(now?.writes)) {
      found.push(
        `${name} ${to} writes ${text(writes)}; the table of wire formats says ${text(now?.writes)}: ` +
          'a new format takes a changeset for a major and a row in scripts/versions/wire-formats.ts',
      );
    }
  }
  for (const { name, from, to, below } of releases) {
    const why = below.filter((other) => changed.has(other));
    if (why.length > 0 && !isBreaking(from, to))
      found.push(`${name} ${to} writes another format through ${why.join(', ')}, and is no new major`);
  }
  return found;
}
