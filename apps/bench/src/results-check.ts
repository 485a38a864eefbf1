/** Whether what was read from a file has the parts of results, before anything relies on them. */
import type { Results } from './results-format.ts';

type Fields = Readonly<Record<string, unknown>>;

/** What is missing in results, or of another kind than it should be; undefined where nothing is. */
export function damagedPart(results: Results): string | undefined {
  const { figures, runs, skipped, profile, machine, load, size, date } = results as unknown as Fields;
  if (typeof size !== 'number' || typeof date !== 'string') return 'its size or date is missing';
  if (!isFields(machine) || !isFields(load)) return 'the facts of the machine are missing';
  for (const [name, list] of Object.entries({ figures, runs, skipped, profile }))
    if (!Array.isArray(list)) return `its ${name} are missing`;
  const brokenFigure = (figures as unknown[]).findIndex((figure) => !isFigure(figure));
  if (brokenFigure >= 0) return `figure ${brokenFigure} has no value`;
  const brokenRun = (runs as unknown[]).findIndex((run) => !isRun(run));
  if (brokenRun >= 0) return `run ${brokenRun} has no series`;
  return undefined;
}

function isFigure(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { trial, title, kind, size, measuredValue, againstValue, result } = value;
  const isNamed = [trial, title, kind].every((name) => typeof name === 'string');
  return isNamed && typeof size === 'number' && [measuredValue, againstValue, result].every(isSeries);
}

function isRun(value: unknown): boolean {
  if (!isFields(value) || typeof value['trial'] !== 'string' || typeof value['size'] !== 'number')
    return false;
  return isFields(value['series']) && Object.values(value['series']).every(isSeries);
}

function isSeries(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { n, median, p25, p75, values = [] } = value;
  const isNumber = (each: unknown): boolean => typeof each === 'number';
  return [n, median, p25, p75].every(isNumber) && Array.isArray(values) && values.every(isNumber);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
