/** What the demo shows in the end: a table of figures and a picture of RAM, or the same as JSON. */
import { formatSize, HUGE_ORDER } from '@liveupdate/base';
import type { Ledger, UpdateFigures } from './demo-ledger.ts';

const ROWS: readonly (readonly [string, (figures: UpdateFigures) => string])[] = [
  ['preserve', ({ preserve }) => time(preserve)],
  ['call to freeze, all still served', ({ callToFreeze }) => time(callToFreeze)],
  ['blackout', ({ blackout }) => time(blackout)],
  ['  of which retrieve', ({ retrieve }) => time(retrieve)],
  ['verify (SHA-256 of all bytes)', ({ verify }) => time(verify)],
  ['finish', ({ finish }) => time(finish)],
  ['process memory outside RAM', ({ outside }) => formatSize(outside)],
];

function time(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function folioText(folios: Ledger['folios']): string {
  const names = Object.entries(folios).map(
    ([order, count]) => `${(count ?? 0).toLocaleString('en')} of ${formatSize(4096 * 2 ** Number(order))}`,
  );
  return names.join(', ') || 'none';
}

function table(ledger: Ledger): string[] {
  const heads = ledger.updates.map((_, i) => `${i + 1} → ${i + 2}`);
  const lines = [`${'update'.padEnd(32)}${heads.map((head) => head.padStart(12)).join('')}`];
  for (const [name, show] of ROWS) {
    lines.push(`${name.padEnd(32)}${ledger.updates.map((figures) => show(figures).padStart(12)).join('')}`);
  }
  return lines;
}

/** The report, ready to print. */
export function report(ledger: Ledger): string {
  if (ledger.json) return `${JSON.stringify(jsonReport(ledger), undefined, 2)}\n`;
  const { written } = ledger;
  const lines = [
    '',
    `preserved      ${formatSize(ledger.preservedBytes)} (files of ${formatSize(ledger.size)}, holes given zeroed pages)`,
    `folios         ${folioText(ledger.folios)}${(ledger.folios[HUGE_ORDER] ?? 0) > 0 ? '' : ' (no 2 MiB folios)'}`,
    `written        ${formatSize(written.ram)} of RAM and ${formatSize(Math.max(0, written.anonymous))} of private memory while preserving: records and maps, no content (measured by ${written.method})`,
    `verified       all bytes, in ${ledger.updates.length} new generation${ledger.updates.length === 1 ? '' : 's'}: identical`,
    '',
    ...table(ledger),
    '',
    ledger.picture,
  ];
  return `${lines.join('\n')}\n`;
}

function jsonReport(ledger: Ledger): object {
  const { size, ramSize, preservedBytes, folios, written, updates, generations } = ledger;
  const files = ledger.files.map((file, i) => ({ ...file, sha256: ledger.hashes[i] }));
  return {
    size,
    ramSize,
    generations,
    preservedBytes,
    folios,
    writtenWhilePreserving: written,
    verified: true,
    updatesInMilliseconds: updates,
    files,
  };
}
