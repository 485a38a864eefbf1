/**
 * How a failure is told: one sentence on standard error, and an exit code. Loaded only when there
 * is one.
 */
import { KernelError } from '@liveupdate/base';
import { printable, printableLines } from './output.ts';
import { UsageError } from './usage-error.ts';

/** What a failure prints, and what the process exits with: 2 for wrong use, 1 for anything else. */
export interface FailureReport {
  readonly text: string;
  readonly exitCode: 1 | 2;
}

/** A system error of Node, such as a failed open: its message is a sentence. */
function isSystemError(error: Error): boolean {
  return 'syscall' in error && 'code' in error;
}

function sentence(error: Error): string {
  return `liveupdate: ${printable(error.message)}\n`;
}

/**
 * A KernelError and wrong use are sentences; anything else is our bug, and its stack is what helps
 * to find it.
 */
export function reportFailure(error: unknown): FailureReport {
  if (error instanceof UsageError) return { text: sentence(error), exitCode: 2 };
  if (error instanceof KernelError || (error instanceof Error && isSystemError(error)))
    return { text: sentence(error), exitCode: 1 };
  return {
    text: `${printableLines(error instanceof Error ? (error.stack ?? error.message) : String(error))}\n`,
    exitCode: 1,
  };
}
