/**
 * Descriptors that a service manager passed to this process when it started it, as sd_listen_fds(3)
 * has it: LISTEN_PID is ours, and LISTEN_FDS descriptors stand from 3 on.
 *
 * Node sets close-on-exec on them at start-up, so a replacement must name them. A number that the
 * program has closed may stand for something else by then: so what it stood for is noted first.
 */
import { checkObject } from '@liveupdate/base';
import { fileBehind } from './file-behind.ts';

/** The number of the first (SD_LISTEN_FDS_START). */
const FIRST_FD = 3;

/** What each number stood for when it was first asked: they belong to the process. */
let passed: ReadonlyMap<number, string> | undefined;

/**
 * Those that are still open on what they were passed for. The first call, best made early, notes
 * what that is.
 *
 * @throws KernelError EINVAL: no environment
 */
export function passedFds(env: Readonly<Record<string, string | undefined>> = process.env): number[] {
  checkObject(env, 'an environment');
  passed ??= noted(env);
  return [...passed].filter(([fd, file]) => fileBehind(fd) === file).map(([fd]) => fd);
}

function noted({
  LISTEN_PID,
  LISTEN_FDS,
}: Readonly<Record<string, string | undefined>>): Map<number, string> {
  const files = new Map<number, string>();
  if (LISTEN_PID !== String(process.pid) || !/^\d{1,6}$/.test(LISTEN_FDS ?? '')) return files;
  for (let fd = FIRST_FD; fd < FIRST_FD + Number(LISTEN_FDS); fd++) {
    const file = fileBehind(fd);
    if (file !== undefined) files.set(fd, file);
  }
  return files;
}
