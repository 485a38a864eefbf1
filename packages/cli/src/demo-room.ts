/** Room for the demos in shared memory, and what of it those took that were killed. */
import * as fs from 'node:fs';
import { formatSize, KernelError } from '@liveupdate/base';
import { hostFacts } from '@liveupdate/linux';
import { filesThatFit, ramSizeFor } from './demo-size.ts';
import { roomForDemo } from './doctor-checks.ts';

const DIRECTORY = '/dev/shm';

/**
 * Says at once when shared memory is too small, with the size that fits.
 *
 * @throws KernelError ENOSPC: it is
 */
export function checkRoom(size: number, files: number): void {
  const facts = hostFacts();
  const room = roomForDemo(facts);
  const needed = ramSizeFor(size, files);
  if (needed <= room) return;
  const fits = filesThatFit(room, files);
  const advice = fits > 0 ? `run the demo with --size ${fits / 2 ** 20}MiB, or make room` : 'make room';
  // A larger mount helps only where there is memory for it.
  const isMount = roomForDemo({ ...facts, shm: facts.shm && { ...facts.shm, free: Infinity } }) >= needed;
  const how = `as root: mount -o remount,size=${Math.ceil(needed / 2 ** 30) + 1}G ${DIRECTORY}`;
  throw new KernelError(
    'ENOSPC',
    `there is room for ${formatSize(Math.max(0, room))} in ${isMount ? DIRECTORY : 'memory'} and the demo needs ${formatSize(needed)}: ${advice}${isMount ? ` (${how})` : ''}`,
  );
}

/** Removes what demos left behind that were killed: their RAM has no owner. */
export function removeLeftovers(): void {
  for (const entry of fs.readdirSync(DIRECTORY)) {
    const pid = /^liveupdate\.demo-(?:upgrade-)?(\d+)$/.exec(entry)?.[1];
    if (pid !== undefined && !fs.existsSync(`/proc/${pid}`))
      fs.rmSync(`${DIRECTORY}/${entry}`, { force: true });
  }
}
