/**
 * An inspection as text for people. What comes out of the image (names, compatible strings) is not
 * trusted: control characters in it are shown, not sent to the terminal.
 */
import { styleText } from 'node:util';
import { formatSize, PAGE_SIZE } from '@liveupdate/base';
import { sealNames } from '@liveupdate/shmem';
import type { EntryRecord } from '@liveupdate/kho';
import type { InspectedFile, InspectedSession, Inspection } from './inspection.ts';
import type { OpenImage } from './open-image.ts';
import { printable } from './output.ts';
import { ramPicture } from './ram-picture.ts';
import { stateInWords } from './ram-state.ts';

export interface TextOptions {
  readonly colour: boolean;
  /** Every line of long lists. */
  readonly all: boolean;
}

/** A list of more lines than this is cut to FIRST of them. */
const LONG = 12;
const FIRST = 10;
const PICTURE = { width: 64, rows: 8 };

type Style = 'bold' | 'dim' | 'cyan' | 'yellow';

class Writer {
  readonly lines: string[] = [];
  readonly #options: TextOptions;

  constructor(options: TextOptions) {
    this.#options = options;
  }

  style(style: Style, text: string): string {
    return this.#options.colour ? styleText(style, text, { validateStream: false }) : text;
  }

  heading(title: string, rest = ''): void {
    this.lines.push('', `${this.style('bold', title)}${rest === '' ? '' : `  ${rest}`}`);
  }

  /** Lines in aligned columns, the last one free; shortened where there are many. */
  rows(indent: string, cells: readonly (readonly string[])[]): void {
    const shown = this.shorten(cells);
    const widths = shown.map((row) => row.map((cell) => cell.length));
    for (const row of shown) {
      const padded = row.map((cell, i) =>
        i === row.length - 1 ? cell : cell.padEnd(Math.max(...widths.map((width) => width[i] ?? 0))),
      );
      this.lines.push(`${indent}${padded.join('  ').trimEnd()}`);
    }
    this.more(indent, cells.length - shown.length);
  }

  shorten<T>(list: readonly T[]): readonly T[] {
    return this.#options.all || list.length <= LONG ? list : list.slice(0, FIRST);
  }

  more(indent: string, hidden: number): void {
    if (hidden > 0) this.lines.push(`${indent}${this.style('dim', `… ${count(hidden)} more (--all)`)}`);
  }
}

function count(n: number | bigint): string {
  return n.toLocaleString('en');
}

function plural(n: number | bigint, thing: string): string {
  return `${count(n)} ${thing}${Number(n) === 1 ? '' : 's'}`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** `904 × 4 KiB, 2 × 2 MiB`. */
function folioText(orders: ReadonlyMap<number, number>): string {
  const parts = [...orders].map(([order, n]) => `${count(n)} × ${formatSize(PAGE_SIZE * 2 ** order)}`);
  return parts.join(', ') || 'no folios';
}

function writeHeader(out: Writer, inspection: Inspection): void {
  const { image, handover, luo } = inspection;
  const kind = `${image.kind}${image.compressed ? ', gzip' : ''}`;
  const guess = image.isRamSizeGuessed ? ' (the core does not say: rounded up; --ram-size sets it)' : '';
  out.lines.push(
    `${out.style('bold', printable(image.path))}: ${kind}, ${formatSize(image.ram.size)} of RAM${guess}`,
  );
  const rows: string[][] = [];
  const { page } = image;
  if (page) rows.push(['state', stateInWords(page, image.owner)]);
  const { kexecMetadata } = handover;
  if (kexecMetadata) {
    const release = printable(kexecMetadata.previousRelease);
    if (release !== '') rows.push(['kernel before', release]);
    rows.push(['kexec count', String(kexecMetadata.kexecCount)]);
  }
  rows.push(
    ['live update', luo ? `number ${luo.liveupdateNumber}` : 'the kernel before had no live update (no LUO)'],
    beginning(inspection),
  );
  out.rows('  ', rows);
}

/** Where what is left begins. */
function beginning({ image, handover, live }: Inspection): [string, string] {
  if (live) return ['live record', `${hex(live.pa)}, change ${live.published}: from the boot page`];
  return ['entry', entryText(handover.entry, image.entryFrom)];
}

function entryText(entry: EntryRecord, entryFrom: OpenImage['entryFrom']): string {
  const from = {
    'boot page': 'from the boot page',
    setup_data: 'from a setup_data record in the image',
    search: 'found by searching the image',
    option: 'as given with --entry',
  }[entryFrom];
  return `device tree ${hex(entry.fdtAddr)}, scratch array ${hex(entry.scratchAddr)}: ${from}`;
}

function fileCells({ token, compatible, data, memfd, damage }: InspectedFile): string[] {
  if (damage !== undefined) return [`token ${token}`, printable(compatible), `damaged: ${printable(damage)}`];
  if (!memfd) return [`token ${token}`, printable(compatible), `data ${hex(data)} (unknown kind of file)`];
  const { size, position, seals, folioOrders, sha256 } = memfd;
  return [
    `token ${token}`,
    printable(compatible),
    formatSize(size),
    `at ${position}`,
    sealNames(seals).join('+') || 'no seals',
    `${folioText(folioOrders)}${sha256 === undefined ? '' : `  sha256 ${sha256}`}`,
  ];
}

/** Where two sessions have one name: which of them this is. */
function ageOf(session: InspectedSession, all: readonly InspectedSession[]): string {
  if (session.isOlder) return ', the older one: not finished';
  return all.some(({ name, isOlder }) => isOlder && name === session.name) ? ', the newer one' : '';
}

function writeSessions(out: Writer, sessions: readonly InspectedSession[]): void {
  const files = sessions.reduce((sum, session) => sum + session.files.length, 0);
  out.heading('sessions', `${plural(sessions.length, 'session')}, ${plural(files, 'file')}`);
  const shown = out.shorten(sessions);
  for (const [i, session] of shown.entries()) {
    const isLast = i === sessions.length - 1;
    const bytes = session.files.reduce((sum, { memfd }) => sum + (memfd?.size ?? 0), 0);
    const what =
      session.files.length === 0
        ? 'no files'
        : `${plural(session.files.length, 'file')}, ${formatSize(bytes)}`;
    const name = out.style('cyan', printable(session.name));
    out.lines.push(`  ${isLast ? '└─' : '├─'} ${name}  ${what}${ageOf(session, sessions)}`);
    out.rows(isLast ? '       ' : '  │    ', session.files.map(fileCells));
  }
  out.more('  ', sessions.length - shown.length);
}

function writeMemory(out: Writer, { handover, preserved }: Inspection): void {
  const { preservedByOrder, scratch } = handover;
  out.heading(
    'preserved memory',
    `${formatSize(preserved.bytes)} in ${preserved.count === 1 ? '1 entry' : `${count(preserved.count)} entries`}`,
  );
  const byOrder = [...preservedByOrder].sort(([a], [b]) => b - a);
  out.rows(
    '  ',
    byOrder.map(([order, n]) => [
      `order ${order}`,
      `${count(n)} × ${formatSize(PAGE_SIZE * 2 ** order)}`,
      formatSize(n * PAGE_SIZE * 2 ** order),
    ]),
  );
  out.heading('scratch', 'where the next kernel boots');
  out.rows(
    '  ',
    scratch.map(({ addr, size }) => [hex(addr), size === 0 ? 'not used' : formatSize(size)]),
  );
}

/** The inspection, ready to print. */
export function inspectionText(inspection: Inspection, options: TextOptions): string {
  const out = new Writer(options);
  writeHeader(out, inspection);
  const { luo, sessions, handover, damage } = inspection;
  if (damage.length > 0) {
    out.heading('damage', `${plural(damage.length, 'place')}, see liveupdate check`);
    out.rows(
      '  ',
      damage.map((what) => [printable(what)]),
    );
  }
  if (luo) writeSessions(out, sessions);
  if (luo && luo.flbs.length > 0) {
    out.heading('FLBs', 'state that files share');
    out.rows(
      '  ',
      luo.flbs.map(({ name, data, count: files }) => [
        printable(name),
        `data ${hex(data)}`,
        `held by ${plural(files, 'file')}`,
      ]),
    );
  }
  writeMemory(out, inspection);
  out.heading('RAM');
  const picture = ramPicture({ table: handover.table, ...PICTURE });
  out.lines.push(...picture.split('\n').map((line) => `  ${line}`));
  return `${out.lines.join('\n')}\n`;
}
