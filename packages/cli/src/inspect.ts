/**
 * `liveupdate inspect`: what a handover holds, read from an image or from a RAM file, changing
 * nothing.
 */
import { inspectionJson } from './inspect-json.ts';
import { inspectionText } from './inspect-text.ts';
import { readInspection } from './inspection.ts';
import { openImage, progressOnTerminal, resolveImagePath, type ImageHints } from './open-image.ts';
import { printJson } from './output.ts';

export interface InspectOptions extends ImageHints {
  readonly json: boolean;
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

/**
 * Prints what `file` holds. Returns the exit code.
 *
 * @throws KernelError as openImage and readInspection have them; nothing is printed then
 */
export async function runInspect(file: string, options: InspectOptions): Promise<number> {
  using image = await openImage(resolveImagePath(file), options);
  const withHashes = options.json || options.hash;
  const inspection = await readInspection(
    image,
    withHashes ? (total) => progressOnTerminal('hash', total) : undefined,
  );
  if (options.json) printJson(inspectionJson(inspection));
  else process.stdout.write(inspectionText(inspection, { colour: mayColour(), all: options.all }));
  return 0;
}
