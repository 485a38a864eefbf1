/**
 * The parts of READMEs that a command writes: the figures of a results file, between two markers of
 * which the first names the file.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { KernelError } from '@liveupdate/base';
import { frontPage } from './front-page.ts';
import { markdownReport } from './report.ts';
import { readResults } from './results.ts';

const FIGURES = /(<!-- (figures|front): (\S+) -->\n).*?(<!-- \2 end -->)/s;

/**
 * A README with the figures of the file that its marker names, all of them or what stands on the
 * front page, in the form that Prettier gives everything here.
 *
 * @param directory of the README, which names the results file relative to it
 * @throws KernelError EINVAL: no markers, or no results file
 */
export async function withFigures(directory: string): Promise<string> {
  const path = join(directory, 'README.md');
  const text = fs.readFileSync(path, 'utf8');
  const marked = FIGURES.exec(text);
  if (!marked) {
    const markers = '`<!-- figures: results/NAME.json -->` and `<!-- figures end -->`';
    throw new KernelError('EINVAL', `README.md has no place for the figures: add lines with ${markers}`);
  }
  const [, begin, kind, file, end] = marked;
  const figures =
    kind === 'front' ? frontPage(directory, file) : markdownReport(readResults(join(directory, file)));
  const fresh = text.replace(FIGURES, () => `${begin}\n${figures}\n\n${end}`);
  const { format, resolveConfig } = await import('prettier');
  return await format(fresh, { ...(await resolveConfig(path)), parser: 'markdown' });
}
