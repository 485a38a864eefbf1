/** Counts the references of a file that a handler takes and drops. */
import type { PreservableFile } from '@liveupdate/luo-core';

const CHANGES = [
  ['get', 1],
  ['put', -1],
  ['hold', 1],
  ['unhold', -1],
] as const;

/**
 * Counts from now on, where the file counts its references; what it gives tells how many more were
 * taken than dropped, and ends it.
 *
 * @param isCounted whether a call that is made now counts; default: every call
 */
export function countReferences(file: PreservableFile, isCounted = () => true): () => number {
  if (!Object.isExtensible(file)) return () => 0;
  let count = 0;
  const before = CHANGES.flatMap(([name, change]) => {
    const call: unknown = Reflect.get(file, name);
    if (typeof call !== 'function') return [];
    const own = Object.getOwnPropertyDescriptor(file, name);
    file[name] = () => {
      Reflect.apply(call, file, []);
      if (isCounted()) count += change;
    };
    return [[name, own] as const];
  });
  return () => {
    for (const [name, own] of before) {
      if (own) Object.defineProperty(file, name, own);
      else Reflect.deleteProperty(file, name);
    }
    return count;
  };
}

/** @param extra how many more were taken than dropped; not 0 */
export function referencesText(extra: number): string {
  const [verb, what] = extra > 0 ? ['leaves', 'get() without put()'] : ['drops', 'put() without get()'];
  return `${verb} a reference too many of the file: ${what}`;
}
