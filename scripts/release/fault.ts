/** Why there is no release: a sentence for whoever asked for one, and no stack. */
export class Fault extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Tells what went wrong, and the exit code for it. */
export function printed(error: unknown): number {
  if (!(error instanceof Fault)) throw error;
  console.error(`release: ${error.message}`);
  return error.exitCode;
}
