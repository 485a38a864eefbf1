/**
 * A command by paths that mean the same when symbolic links are switched: so a version can be
 * started again after the next one was put in its place (`/srv/current/app.js`).
 */
const fs = process.getBuiltinModule('node:fs');

/** The program and its arguments; those that are paths of files are what they lead to now. */
export function resolvedCommand(command: readonly string[]): string[] {
  return command.map((word, i) => (i > 0 ? resolved(word) : word));
}

function resolved(word: string): string {
  if (!word.includes('/') || word.startsWith('-')) return word;
  try {
    return fs.realpathSync.native(word);
  } catch {
    return word; // no file
  }
}
