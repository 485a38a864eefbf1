/** The child's end of the line, without anything that would have to be loaded for it. */
import * as fs from 'node:fs';

/** Says something to the parent. */
export function say(line: object): void {
  fs.writeSync(1, `${JSON.stringify(line)}\n`);
}

/** Waits until the parent lets us go on; false where it wants us to end. */
export function awaitGo(): boolean {
  return fs.readSync(0, new Uint8Array(1)) === 1;
}

/** Bytes in a line of /proc/self/status, such as RssAnon. */
export function statusBytes(field: string): number {
  const text = fs.readFileSync('/proc/self/status', 'latin1');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
}
