/** SHA-256 of a preserved file's content, holes included. */
import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { forEachPart, type FileContent } from './file-content.ts';
import type { Progress } from './progress.ts';

const ZEROS = new Uint8Array(2 ** 20);

/** SHA-256 of a file, in hex. */
export async function hashContent(content: FileContent, progress: Progress): Promise<string> {
  const hash = createHash('sha256');
  let done = 0;
  const update = (part: Uint8Array): void => {
    hash.update(part);
    progress.add(part.length);
    done += part.length;
  };
  const zerosTo = async (end: number): Promise<void> => {
    while (done < end) {
      update(ZEROS.subarray(0, Math.min(end - done, ZEROS.length)));
      await turn();
    }
  };
  await forEachPart(content, async (part, position) => {
    await zerosTo(position);
    update(part);
  });
  await zerosTo(content.size);
  return hash.digest('hex');
}
