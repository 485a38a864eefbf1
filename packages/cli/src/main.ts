#!/usr/bin/env node
/**
 * The `liveupdate` command. Each command's module is loaded when it is asked for; a process that
 * was replaced in a demo is on the clock, so its way leads past everything that it does not need.
 */
import { realpathSync } from 'node:fs';

/**
 * Runs a command line, without program and script. Returns the exit code: 0 fine, 1 failed, 2 wrong
 * use.
 */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    if (argv[0] === 'demo' && argv[1] === '--resume') return await (await import('./demo.ts')).resumeDemo();
    return await (await import('./program.ts')).runProgram(argv);
  } catch (error) {
    const { reportFailure } = await import('./failure.ts');
    const { text, exitCode } = reportFailure(error);
    process.stderr.write(text);
    return exitCode;
  }
}

/** Whether this file is the program, also through the link that a package manager makes. */
function isEntry(): boolean {
  const script = process.argv.at(1);
  try {
    return script !== undefined && realpathSync(script) === import.meta.filename;
  } catch {
    return false;
  }
}

// No process.exit(): what was written to a pipe must get out first.
if (isEntry()) process.exitCode = await run(process.argv.slice(2));
