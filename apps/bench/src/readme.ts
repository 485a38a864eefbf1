/**
 * The parts of READMEs that a command writes: the figures of results files, each between two
 * markers of which the first names the file.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { KernelError } from '@liveupdate/base';
import { markdownHeadlines, markdownReport } from './report.ts';
import { readResults } from './results.ts';

const FIGURES = /(<!-- (figures|headlines): (\S+) -->\n).*?(<!-- \2 end -->)/gs;

/**
 * A README with the figures (all of them, or the headlines) of the files that its markers name, in
 * the form that Prettier gives everything here.
 *
 * @param directory of the README, which names results files relative to it
 * @throws KernelError EINVAL: no markers, or no results file
 */
export async function withFigures(directory: string): Promise<string> {
  const path = join(directory, 'README.md');
  const text = fs.readFileSync(path, 'utf8');
  if (text.search(FIGURES) < 0) {
    const markers = '`<!-- figures: results/NAME.json -->` and `<!-- figures end -->`';
    throw new KernelError('EINVAL', `README.md has no place for the figures: add lines with ${markers}`);
  }
  const fresh = text.replace(FIGURES, (_, begin: string, kind: string, file: string, end: string) => {
    const results = readResults(join(directory, file));
    const figures = kind === 'headlines' ? markdownHeadlines(results) : markdownReport(results);
    return `${begin}\n${figures}\n\n${end}`;
  });
  const { format, resolveConfig } = await import('prettier');
  return await format(fresh, { ...(await resolveConfig(path)), parser: 'markdown' });
}
