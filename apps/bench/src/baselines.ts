/** What live update is measured against, where it is not an empty program (see child-process.ts): copying the bytes. */

/** Bytes copied by one call: large enough that the call costs nothing beside the copy. */
const CHUNK = 64 * 2 ** 20;

/** Copies `source` to `target`, and nothing else: both are mapped and touched before. */
export function copy(target: Uint8Array, source: Uint8Array): void {
  for (let at = 0; at < source.length; at += CHUNK) target.set(source.subarray(at, at + CHUNK), at);
}

/** Milliseconds of a call. */
export async function timed(call: () => unknown): Promise<number> {
  const start = process.hrtime.bigint();
  await call();
  return Number(process.hrtime.bigint() - start) / 1e6;
}
