/**
 * A picture of RAM: one character for so many bytes. A character shows what most of its frames are;
 * memory that is handed to the next kernel is never hidden by that: where it is less than half of a
 * character, it has a sign of its own.
 */
import { assert, formatSize, log2Ceil, PAGE_SIZE } from '@liveupdate/base';
import {
  FREE,
  HEAD,
  INCOMING_HEAD,
  INCOMING_TAIL,
  KIND,
  PRESERVED,
  SCRATCH,
  TAIL,
  type PageTable,
} from '@liveupdate/mm';

export interface PictureOptions {
  /** Incoming frames, as a handover leaves them, count as preserved. */
  readonly table: PageTable;
  /** Characters in a row. */
  readonly width: number;
  /** Rows, at most. */
  readonly rows: number;
}

/**
 * What a frame counts as. A tail counts as its folio's head, which alone has the PRESERVED flag.
 */
const AS_FREE = 0;
const AS_SCRATCH = 1;
const AS_USED = 2;
const AS_RESERVED = 3;
const AS_PRESERVED = 4;
const AS_HEAD = 5;
const CLASSES = 5;

/** All bits of a frame's flags. */
const ALL = 0xff;

const SIGNS = ['·', '~', '▒', 'B', '█'] as const;
const PARTLY = '▓';
const LEGEND: readonly (readonly [string, string])[] = [
  ['█', 'preserved'],
  [PARTLY, 'preserved in part'],
  ['▒', 'in use'],
  ['~', 'scratch'],
  ['B', 'boot page or reserved'],
  ['·', 'free'],
];

/** Class of each value that a frame's flags can have. */
const CLASS_OF = Uint8Array.from({ length: 256 }, (_, flags) => {
  const kind = flags & KIND;
  if (kind === TAIL) return AS_HEAD;
  if (kind === INCOMING_HEAD || kind === INCOMING_TAIL) return AS_PRESERVED;
  if (kind === HEAD) return (flags & PRESERVED) === 0 ? AS_USED : AS_PRESERVED;
  if (kind === FREE) return (flags & SCRATCH) === 0 ? AS_FREE : AS_SCRATCH;
  return AS_RESERVED;
});

/**
 * Counts the classes of frames [from, to) into `counts`. Returns the class of the last head, for
 * tails that follow.
 */
function countFrames(
  table: PageTable,
  from: number,
  to: number,
  counts: Uint32Array,
  before: number,
): number {
  let head = before;
  for (let pfn = from; pfn < to;) {
    const flags = table.flagsOf(pfn);
    const end = table.flagsEnd(ALL, flags, pfn, to);
    const own = CLASS_OF[flags];
    if (own !== AS_HEAD) head = own;
    counts[head] += end - pfn;
    pfn = end;
  }
  return head;
}

function signOf(counts: Uint32Array): string {
  const frames = counts.reduce((sum, count) => sum + count, 0);
  const preserved = counts[AS_PRESERVED];
  if (preserved * 2 >= frames) return SIGNS[AS_PRESERVED];
  if (preserved > 0) return PARTLY;
  let most = AS_FREE;
  for (let i = 1; i < CLASSES; i++) if (counts[i] > counts[most]) most = i;
  return SIGNS[most];
}

/**
 * Rows of characters, each with its address, then a line with the scale and the signs that occur. A
 * character stands for a power of two of bytes, the least with which RAM fits into `width` times
 * `rows`.
 */
export function ramPicture({ table, width, rows }: PictureOptions): string {
  assert(width >= 1 && rows >= 1, 'a picture has at least one character');
  const { frames } = table;
  const perCell = 2 ** log2Ceil(Math.max(1, Math.ceil(frames / (width * rows))));
  const counts = new Uint32Array(CLASSES);
  const lines: string[] = [];
  const seen = new Set<string>();
  const labels: string[] = [];
  let line = '';
  let head = AS_RESERVED;
  for (let at = 0; at < frames; at += perCell) {
    counts.fill(0);
    head = countFrames(table, at, Math.min(frames, at + perCell), counts, head);
    const sign = signOf(counts);
    seen.add(sign);
    if (line === '') labels.push(formatSize(at * PAGE_SIZE));
    line += sign;
    if (line.length === width || at + perCell >= frames) {
      lines.push(line);
      line = '';
    }
  }
  const labelWidth = Math.max(...labels.map((label) => label.length));
  const legend = LEGEND.filter(([sign]) => seen.has(sign)).map(([sign, name]) => `${sign} ${name}`);
  return [
    ...lines.map((text, i) => `${labels[i].padStart(labelWidth)} ${text}`),
    `${' '.repeat(labelWidth)} each character = ${formatSize(perCell * PAGE_SIZE)}: ${legend.join(', ')}`,
  ].join('\n');
}
