/** A tmpfs of its own for tests, as small as they want it. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/**
 * A folder on a tmpfs of so many MiB, gone when the test ends; undefined where we may not mount
 * one.
 */
export function smallTmpfs(mebibytes: number): string | undefined {
  const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-full-'));
  try {
    const options = `size=${mebibytes}m,mode=0700`;
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'liveupdate-test', directory], { stdio: 'ignore' });
  } catch {
    fs.rmdirSync(directory);
    return undefined;
  }
  onTestFinished(() => {
    execFileSync('umount', ['--lazy', directory]);
    fs.rmdirSync(directory);
  });
  return directory;
}

/** Why a test is skipped where there is none. */
export const NO_TMPFS = 'mounting a small tmpfs needs root';
