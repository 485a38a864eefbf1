/**
 * How large the packages are, as a table in docs/sizes.md that `npm run -s sizes` writes. The check
 * measures again, and fails where a figure there is off by more than a tolerance, so that a change
 * that adds weight shows it.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { bundle } from './bundle.ts';
import { root } from './command.ts';
import { single, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { isCore, isLibrary, workspace, type Package } from './workspace.ts';

export const SIZES = join(root, 'docs/sizes.md');

/**
 * How far a figure in the table may be from the truth: a share of it, and at least so many bytes.
 */
const TOLERANCE = 0.1;
const LEAST = 512;

const COLUMNS = ['packed', 'unpacked', 'bundled', 'bundled, gzip'] as const;

interface Row {
  name: string;
  /** Bytes, by column. */
  figures: number[];
}

/** Measures every package that is published. They must be built. */
export async function measure(): Promise<Row[]> {
  const folder = await pack();
  const rows: Row[] = [];
  for (const each of workspace()) if (!each.private) rows.push(await measureOne(folder, each));
  return rows;
}

async function measureOne(folder: string, each: Package): Promise<Row> {
  const file = tarball(folder, each);
  const entry = join(root, each.dir, isLibrary(each) ? 'dist/index.js' : 'dist/main.js');
  const text = await bundle(entry, isCore(each) ? 'browser' : 'node');
  const bundled = Buffer.from(text);
  const figures = [
    statSync(file).size,
    unpackedSize(gunzipSync(readFileSync(file))),
    bundled.length,
    gzipSync(bundled, { level: 9 }).length,
  ];
  return { name: each.name, figures };
}

/**
 * Bytes of the files in a tar archive: each has a header of one block of 512, with its size as an
 * octal number at 124.
 */
function unpackedSize(tar: Buffer): number {
  const BLOCK = 512;
  let total = 0;
  for (let at = 0; at < tar.length && tar[at] !== 0;) {
    const size = Number.parseInt(tar.toString('latin1', at + 124, at + 136), 8);
    total += size;
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return total;
}

const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`;

/** The page, ready to write. */
export function sizesPage(rows: Row[]): string {
  const names = rows.map(({ name }) => `\`${name}\``);
  const cells = rows.map(({ figures }) => figures.map(kib));
  const table = [
    ['package', ...COLUMNS],
    ['-', '-:', '-:', '-:', '-:'],
    ...cells.map((row, i) => [names[i], ...row]),
  ];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const lines = table.map((row, i) => {
    const padded = row.map((cell, column) => {
      const width = widths[column];
      if (i === 1) return column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`;
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    });
    return `| ${padded.join(' | ')} |`;
  });
  return `# Sizes

What each package weighs. \`npm run -s sizes\` measures and writes this page; \`npm test\` fails where a
figure is off by more than ${TOLERANCE * 100} %.

${lines.join('\n')}

- **packed**: the tarball that is downloaded. **unpacked**: its files on disk, source maps and
  declarations among them. Both are the package's own, without what it depends on.
- **bundled**: all that the package exports, with what that needs of everything below it, in one
  minified file. The core packages are bundled for a browser, the others for Node.js, with koffi,
  which is native, left outside.
`;
}

/** The figures of the page, by package. */
function readPage(page: string): Map<string, string[]> {
  const rows = page.matchAll(/^\| `(.*?)` +\| (.*) \|$/gm);
  return new Map([...rows].map(([, name, cells]) => [name, cells.split('|').map((cell) => cell.trim())]));
}

export async function sizes(): Promise<Report> {
  const rows = await measure();
  const shown = readPage(existsSync(SIZES) ? readFileSync(SIZES, 'utf8') : '');
  const reports = rows.map(({ name, figures }) => {
    const cells = shown.get(name) ?? [];
    shown.delete(name);
    const wrong = figures.flatMap((bytes, i) => {
      const told = Number.parseFloat(cells[i]) * 1024;
      const near = Math.abs(told - bytes) <= Math.max(bytes * TOLERANCE, LEAST);
      return near ? [] : [`${COLUMNS[i]}: ${kib(bytes)}, docs/sizes.md says ${cells[i] ?? 'nothing'}`];
    });
    return single(`${name}: sizes`, outcome(wrong));
  });
  const gone = [...shown.keys()].map((name) => `${name} is in the table, and no package`);
  return sum([...reports, single('packages of the table', outcome(gone))]);
}

function outcome(wrong: string[]): { ok: boolean; output: string } {
  return { ok: wrong.length === 0, output: [...wrong, 'write the page anew: npm run -s sizes'].join('\n') };
}
