/**
 * The parts of READMEs that a command writes: the figures of results files, each between two
 * markers of which the first names the file.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { KernelError } from '@liveupdate/base';
import { frontPage, picturedFile } from './front-page.ts';
import { themedPicture } from './page-style.ts';
import { readPictured } from './pictured-upgrades.ts';
import { markdownReport } from './report.ts';
import { pictureName, resultCharts, resultPictures } from './result-charts.ts';
import { readResults } from './results.ts';
import { upgradePictures } from './upgrade-picture.ts';

const FIGURES = /(<!-- (figures|front): (\S+) -->\n).*?(<!-- \2 end -->)/gs;

export interface Marked {
  readonly text: string;
  readonly pictures: ReadonlyMap<string, string>;
}

/**
 * A README with the figures of the files that its markers name, all of them or what stands on the
 * front page, in the form that Prettier gives everything here; and the pictures in it, by path.
 *
 * @param directory of the README, which names results files relative to it
 * @throws KernelError EINVAL: no markers, or no results file
 */
export async function withFigures(directory: string): Promise<Marked> {
  const path = join(directory, 'README.md');
  const text = fs.readFileSync(path, 'utf8');
  if (text.search(FIGURES) < 0) {
    const markers = '`<!-- figures: results/NAME.json -->` and `<!-- figures end -->`';
    throw new KernelError('EINVAL', `README.md has no place for the figures: add lines with ${markers}`);
  }
  const pictures = new Map<string, string>();
  let fresh = text;
  for (const [old, begin, kind, file, end] of text.matchAll(FIGURES)) {
    const of = await (kind === 'front' ? front : all)(directory, file);
    for (const [name, picture] of of.pictures) pictures.set(name, picture);
    fresh = fresh.replace(old, () => `${begin}\n${of.figures}\n\n${end}`);
  }
  const { format, resolveConfig } = await import('prettier');
  return { text: await format(fresh, { ...(await resolveConfig(path)), parser: 'markdown' }), pictures };
}

interface Figures {
  readonly figures: string;
  readonly pictures: ReadonlyMap<string, string>;
}

/** All figures, under the pictures of them. */
async function all(directory: string, file: string): Promise<Figures> {
  const results = readResults(join(directory, file));
  const shown = Object.entries(resultCharts(results)).map(([name, { title }]) =>
    themedPicture(pictureName(file, name), title),
  );
  return {
    figures: markdownReport(results, shown),
    pictures: await resultPictures(join(directory, file), results),
  };
}

async function front(directory: string, file: string): Promise<Figures> {
  const pictured = join(directory, picturedFile(file));
  return {
    figures: frontPage(directory, file),
    pictures: await upgradePictures(pictured, readPictured(pictured)),
  };
}
