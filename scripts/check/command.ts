/** Running a program, keeping what it says. */

import { spawn } from 'node:child_process';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '../..');

export interface Ended {
  ok: boolean;
  /** stdout and stderr, in the order in which they came. */
  output: string;
  stdout: string;
}

/**
 * Milliseconds: who takes so long hangs. What is given this limit takes seconds, and a machine may
 * be slow, and busy.
 */
export const HANGS = 600_000;

interface Options {
  cwd?: string;
  env?: Record<string, string>;
  /** Milliseconds; then the program is killed and has failed. Default: none. */
  timeout?: number;
}

/**
 * Runs a program of node_modules/.bin, or of the PATH, in the root of the repository or in `cwd`.
 */
export function command(
  program: string,
  args: string[],
  { cwd = root, env, timeout }: Options = {},
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...environment(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    const timer = timeout === undefined ? undefined : setTimeout(expire, timeout);
    child.on('error', (error) => (output += `${program}: ${error.message}\n`));
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ ok: code === 0, output, stdout });
    });
    function expire() {
      output += `${program}: killed after ${(timeout ?? 0) / 1000} s\n`;
      child.kill('SIGKILL');
    }
  });
}

function environment(): NodeJS.ProcessEnv {
  // As pnpm and npm do for their scripts: this repository's own programs, Node.js among them, come
  // first.
  const path = `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`;
  return { ...process.env, PATH: path, FORCE_COLOR: undefined, NO_COLOR: '1' };
}
