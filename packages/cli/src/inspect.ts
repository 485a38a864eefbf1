/**
 * `liveupdate inspect`: what a RAM file or an image holds, also where the owner of a RAM died or
 * goes on. Nothing is changed.
 */
import { KernelError } from '@liveupdate/base';
import { inspectionHtml } from './inspect-html.ts';
import { inspectionJson } from './inspect-json.ts';
import { inspectionText } from './inspect-text.ts';
import { readInspection, type Inspection } from './inspection.ts';
import { openImage, progressOnTerminal, resolveImagePath, type ImageHints } from './open-image.ts';
import { printJson } from './output.ts';

export interface InspectOptions extends ImageHints {
  readonly json: boolean;
  /** A page with a map of memory. */
  readonly html: boolean;
  /** Content hashes in the text; JSON always has them. */
  readonly hash: boolean;
  /** Long lists in full. */
  readonly all: boolean;
}

/**
 * Whether text on standard output may be coloured: a terminal, and nobody said no
 * (https://no-color.org).
 */
function mayColour(): boolean {
  return process.stdout.isTTY && (process.env.NO_COLOR ?? '') === '';
}

/** @throws KernelError EINVAL: something is damaged */
function checkDamage({ sessions, damage }: Inspection): void {
  const inFiles = sessions.flatMap(({ name, files }) =>
    files.flatMap((file) =>
      file.damage === undefined ? [] : [`token ${file.token} of session '${name}': ${file.damage}`],
    ),
  );
  const all = [...inFiles, ...damage];
  if (all.length === 0) return;
  const more = all.length > 1 ? ` (and ${all.length - 1} more, all told above)` : '';
  throw new KernelError('EINVAL', `${all[0]}${more}`);
}

/**
 * Prints what `file` holds. Returns the exit code.
 *
 * @throws KernelError as openImage and readInspection have them; nothing is printed then. EINVAL:
 * something in it is damaged; all the rest is printed
 */
export async function runInspect(file: string, options: InspectOptions): Promise<number> {
  using image = await openImage(resolveImagePath(file), options);
  const withHashes = options.json || options.hash;
  const inspection = await readInspection(
    image,
    withHashes ? (total) => progressOnTerminal('hash', total) : undefined,
  );
  if (options.json) printJson(inspectionJson(inspection));
  else if (options.html) process.stdout.write(inspectionHtml(inspection));
  else process.stdout.write(inspectionText(inspection, { colour: mayColour(), all: options.all }));
  checkDamage(inspection);
  return 0;
}
