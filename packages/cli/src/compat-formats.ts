/**
 * Whether what one side writes is read by the other: from formats to a verdict. Nothing is looked
 * at here but what is passed in.
 */

/** What a format is for, and so what is lost without it. */
export type Role = 'boot page' | 'handover' | 'orchestrator' | 'file' | 'state' | 'other';

export interface Format {
  readonly role: Role;
  readonly name: string;
}

/** One side of an update. */
export interface Side {
  /** What it is, for people. */
  readonly what: string;
  readonly kind: 'kernel' | 'program' | 'memory';
  readonly writes: readonly Format[];
  readonly reads: readonly Format[];
  /** What could not be known of it. */
  readonly notes: readonly string[];
  /** Of memory: what is damaged, so that there may be more than is seen. */
  readonly damage?: string;
}

interface Row extends Format {
  readonly isRead: boolean;
  /** Whether something is lost without it. */
  readonly matters: boolean;
  /** What is lost; empty where nothing is. */
  readonly lost: string;
}

export interface Verdict {
  readonly fits: boolean;
  readonly sentence: string;
  readonly rows: readonly Row[];
  /** What the new side reads and the old one does not write. */
  readonly onlyRead: readonly Format[];
}

/** Judges an update. */
export function judge(from: Side, to: Side): Verdict {
  const reads = new Set(to.reads.map(({ role, name }) => key(role, name)));
  const rows = from.writes.map((format): Row => {
    const isRead = reads.has(key(format.role, format.name));
    const matters = !isRead && isWanted(format, from, to);
    return { ...format, isRead, matters, lost: matters ? lostWithout(format, from, to) : '' };
  });
  const written = new Set(from.writes.map(({ role, name }) => key(role, name)));
  const onlyRead = to.reads.filter(({ role, name }) => !written.has(key(role, name)));
  const missing = rows.filter(({ matters }) => matters);
  const isKnown = from.damage === undefined;
  return { fits: isKnown && missing.length === 0, sentence: sentenceOf(from, to, missing), rows, onlyRead };
}

/** Which of them are files and which is state that files share, an image does not say. */
function key(role: Role, name: string): string {
  return `${role === 'state' ? 'file' : role} ${name}`;
}

function isWanted({ role }: Format, from: Side, to: Side): boolean {
  if (role === 'boot page') return to.kind === 'program';
  // Parts of a kernel that only a kernel has.
  return role !== 'other' || (from.kind !== 'program' && to.kind === 'kernel');
}

function lostWithout({ role, name }: Format, from: Side, to: Side): string {
  const here = from.kind === 'memory' ? 'there are such files' : 'as soon as one such file is preserved';
  switch (role) {
    case 'boot page':
      return 'the RAM cannot be opened';
    case 'handover':
      return to.kind === 'kernel'
        ? 'all of it: the new kernel boots cold'
        : 'it refuses to boot, and leaves the RAM as it is';
    case 'orchestrator':
      return to.kind === 'kernel'
        ? 'the machine: the new kernel panics as it boots with liveupdate=on, whatever is preserved'
        : 'it refuses to boot, and leaves the RAM as it is';
    case 'file':
      return to.kind === 'kernel'
        ? `all sessions, ${here}: the device of the new kernel cannot be opened`
        : `it refuses to boot, ${here}, and leaves the RAM as it is`;
    case 'state':
      return 'the state that these files share';
    case 'other':
      return `memory that is reserved by it (${name.replace(/-v\d+$/, '')})`;
  }
}

function sentenceOf(from: Side, to: Side, missing: readonly Row[]): string {
  if (from.damage !== undefined && missing.length === 0)
    return `It cannot be said: ${from.what} is damaged (${from.damage}), and what cannot be seen of it may not be read.`;
  if (from.writes.length === 0) return `Nothing is lost: ${from.what} hands nothing over.`;
  if (missing.length === 0) return `It fits: ${to.what} reads all that ${from.what} ${writesVerb(from)}.`;
  if (to.reads.length === 0) return `It does not fit: ${to.what} takes no handover, so all is lost.`;
  const names = missing.map(({ name }) => name).join(', ');
  return `It does not fit: ${to.what} does not read ${names}.`;
}

function writesVerb({ kind }: Side): string {
  return kind === 'memory' ? 'holds' : 'writes';
}
