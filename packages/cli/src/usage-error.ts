/** Wrong use of the command line: an unknown flag, a value that is none. Exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}
