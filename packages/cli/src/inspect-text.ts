/**
 * An inspection as text for people. What comes out of the image (names, compatible strings) is not
 * trusted: control characters in it are shown, not sent to the terminal.
 */
import { styleText } from 'node:util';
import { formatSize, PAGE_SIZE } from '@liveupdate/base';
import { sealNames } from '@liveupdate/shmem';
import type { EntryRecord } from '@liveupdate/kho';
import type { InspectedFile, InspectedSession, Inspection } from './inspection.ts';
import { isMadeUp, NO_SESSION } from './scanned.ts';
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
  const { image, handover, moment } = inspection;
  const kind = `${image.kind}${image.compressed ? ', gzip' : ''}`;
  const guess = image.isRamSizeGuessed ? ' (the core does not say: rounded up; --ram-size sets it)' : '';
  out.lines.push(
    `${out.style('bold', printable(image.path))}: ${kind}, ${formatSize(image.ram.size)} of RAM${guess}`,
  );
  const rows: string[][] = [];
  const { page } = image;
  if (page) rows.push(['state', stateInWords(page, image.owner)]);
  if (moment && moment.moment !== 'handed over') rows.push(['moment', IN_WORDS[moment.moment]]);
  const isAtWork = moment?.moment === 'preserving';
  const { kexecMetadata } = handover;
  if (kexecMetadata) {
    const release = printable(kexecMetadata.previousRelease);
    if (release !== '') rows.push([isAtWork ? 'kernel' : 'kernel before', release]);
    rows.push([isAtWork ? 'next kexec count' : 'kexec count', String(kexecMetadata.kexecCount)]);
  }
  rows.push(['live update', updateText(inspection)], beginning(inspection));
  if (moment?.moment === 'taken over') rows.push(['confidence', confidence(inspection)]);
  out.rows('  ', rows);
}

const IN_WORDS = {
  'handed over': 'handed over, and not taken yet',
  preserving: 'before a handover: a kernel at work, and what it has preserved so far',
  'taken over': 'after a handover: the next kernel at work, and what is still there',
} as const;

/** How far files of a handover that was taken over can be trusted. */
function confidence({ sessions }: Inspection): string {
  const files = sessions.flatMap((session) => session.files.filter(({ memfd }) => memfd));
  const count = (state: InspectedFile['taken']): number =>
    files.filter(({ taken }) => taken === state).length;
  const [whole, unknown] = [count('no'), count('unknown')];
  if (files.length === 0) return 'there is no file to be trusted';
  if (unknown === files.length)
    return 'low: whether the next kernel has taken their memory is not known, and contents may be others';
  const taken = files.length - whole - unknown;
  const words = [
    whole > 0 ? `${plural(whole, 'file')} as handed over: the kernel has taken none of their pages` : '',
    taken > 0 ? `${plural(taken, 'file')} taken since: contents may have changed, or be something else` : '',
    unknown > 0 ? `${plural(unknown, 'file')} not known` : '',
  ].filter((text) => text !== '');
  return `${whole === files.length ? 'high' : 'mixed'}: ${words.join('; ')}`;
}

function updateText({ luo, moment }: Inspection): string {
  if (!luo) return 'the kernel before had no live update (no LUO)';
  if (luo.liveupdateNumber === undefined) return 'number not known';
  return `number ${luo.liveupdateNumber}${moment?.moment === 'preserving' ? ' will be the next' : ''}`;
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
    kernel: 'as /sys/kernel/debug/kho shows it',
  }[entryFrom];
  if (entryFrom === 'kernel') return from;
  const scratch =
    entry.scratchSize > 0 ? `scratch array ${hex(entry.scratchAddr)}` : 'scratch array not known';
  return `device tree ${hex(entry.fdtAddr)}, ${scratch}: ${from}`;
}

/** What the next kernel has done with a file. */
const TAKEN_WORDS = {
  no: '',
  yes: 'taken since: may have changed',
  'in part': 'taken in part: may have changed',
  unknown: '',
} as const;

function fileCells(file: InspectedFile, session: InspectedSession): string[] {
  const { token, compatible, data, memfd, damage, systemd, taken } = file;
  const title = `${session.name === NO_SESSION ? 'record' : 'token'} ${session.name === NO_SESSION ? hex(token) : token}`;
  if (damage !== undefined) return [title, printable(compatible), `damaged: ${printable(damage)}`];
  if (!memfd) return [title, printable(compatible), `data ${hex(data)} (${kindText(compatible)})`];
  const marks = [
    systemd && `${printable(systemd.unit)}: ${printable(systemd.name)}`,
    taken && TAKEN_WORDS[taken],
    memfd.sha256 && `sha256 ${memfd.sha256}`,
  ].filter((mark) => mark !== undefined && mark !== '');
  const { size, position, seals, folioOrders } = memfd;
  return [
    title,
    printable(compatible),
    formatSize(size),
    `at ${position}`,
    sealNames(seals).join('+') || 'no seals',
    [folioText(folioOrders), ...marks].join('  '),
  ];
}

function kindText(compatible: string): string {
  const isOther = /^memfd-v\d+$/.test(compatible);
  return isOther ? 'another version of memfd than is read here' : 'unknown kind of file';
}

/** Where two sessions have one name: which of them this is. */
function ageOf(session: InspectedSession, all: readonly InspectedSession[]): string {
  if (session.name === NO_SESSION) return ', which no session names: by the addresses of their records';
  if (isMadeUp(session.name)) return ', a list of files whose session is not known';
  if (session.systemd) return `, of ${printable(session.systemd.unit)}: ${printable(session.systemd.name)}`;
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
    out.rows(
      isLast ? '       ' : '  │    ',
      session.files.map((file) => fileCells(file, session)),
    );
  }
  out.more('  ', sessions.length - shown.length);
}

/** Who owns preserved memory: kinds of owners, the files together. */
function writeOwners(out: Writer, { ownership, sessions }: Inspection): void {
  const { owners, unowned, unownedBytes } = ownership;
  const names = new Set(sessions.flatMap(({ name, files }) => files.map(({ token }) => `${name}/${token}`)));
  const inFiles = owners.filter(({ name }) => names.has(name));
  const bytes = inFiles.reduce((sum, owner) => sum + owner.bytes, 0);
  const rows = owners
    .filter(({ name }) => !names.has(name))
    .map((owner) => [printable(owner.name), formatSize(owner.bytes)]);
  if (inFiles.length > 0) rows.unshift([plural(inFiles.length, 'file'), formatSize(bytes)]);
  if (unownedBytes > 0) rows.push(['nobody that is known here', formatSize(unownedBytes)]);
  out.heading('owners', 'of preserved memory');
  out.rows('  ', rows);
  if (unowned.length === 0) return;
  const runs = unowned.map(({ pa, bytes: size }) => `${hex(pa)} ${formatSize(size)}`);
  const shown = out.shorten(runs);
  out.lines.push(`       nobody's: ${shown.join(', ')}`);
  out.more('       ', runs.length - shown.length);
}

function writeMemory(out: Writer, { handover, preserved, moment }: Inspection): void {
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
  if (moment?.next) {
    const entries = [...moment.next.preservedByOrder];
    const count = entries.reduce((sum, [, n]) => sum + n, 0);
    const bytes = entries.reduce((sum, [order, n]) => sum + n * PAGE_SIZE * 2 ** order, 0);
    out.heading(
      'for the next',
      `${formatSize(bytes)} in ${plural(count, 'entr').replace(/entrs?$/, count === 1 ? 'entry' : 'entries')}: preserved so far by the kernel that runs`,
    );
  }
  if (scratch.length === 0) return;
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
  const { luo, sessions, handover, damage, moment } = inspection;
  for (const note of moment?.notes ?? []) out.lines.push(`  ${note}`);
  if (damage.length > 0) {
    out.heading('damage', plural(damage.length, 'place'));
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
  if (inspection.handlers.length > 0) {
    out.heading('handlers', 'that the next kernel needs');
    out.rows(
      '  ',
      inspection.handlers.map(({ compatible, files, isKnown }) => [
        printable(compatible),
        plural(files, 'file'),
        isKnown ? '' : kindText(compatible),
      ]),
    );
  }
  writeMemory(out, inspection);
  writeOwners(out, inspection);
  out.heading('RAM');
  const picture = ramPicture({ table: handover.table, ...PICTURE });
  out.lines.push(...picture.split('\n').map((line) => `  ${line}`));
  return `${out.lines.join('\n')}\n`;
}
