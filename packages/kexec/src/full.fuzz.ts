/**
 * A RAM that promises more than its file system has: random operations of files, in a process that
 * would end by SIGBUS where a page is touched that the system has not given. Run again what failed
 * with LIVEUPDATE_SEED.
 */
import { seed } from '@liveupdate/base/test-seed';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NO_TMPFS, smallTmpfs } from './test-tmpfs.ts';

const OPERATIONS = 20_000;
/** What may be told that the system is full. */
const MAY_FAIL = ['write', 'writev', 'allocate', 'map', 'preserve'];

interface Outcome {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--conditions=@liveupdate/source', program, ...args]);
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text: Buffer) => (stdout += String(text)));
    child.stderr.on('data', (text: Buffer) => (stderr += String(text)));
    child.on('error', reject);
    child.on('close', (status, signal) => {
      resolve({ status, signal, stdout, stderr });
    });
  });
}

test(`${OPERATIONS} operations on a full file system: ENOSPC, nothing changed, and the process lives`, async (context) => {
  const directory = smallTmpfs(3);
  if (directory === undefined) return context.skip(NO_TMPFS);
  const program = join(import.meta.dirname, 'test-full.ts');
  const { status, signal, stdout, stderr } = await run(program, [
    join(directory, 'ram'),
    String(OPERATIONS),
    String(seed),
    ...MAY_FAIL,
  ]);
  expect({ status, signal, stderr: status === 0 ? '' : stderr }).toEqual({
    status: 0,
    signal: null,
    stderr: '',
  });
  const full = JSON.parse(stdout) as Record<string, number>;
  for (const name of MAY_FAIL) expect(full[name], name).toBeGreaterThan(0);
}, 900_000);
