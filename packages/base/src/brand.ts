/**
 * Classes that are known by what they are, and not by which copy of a package made their objects:
 * npm puts two copies into one tree as soon as no version suits all who depend on a package.
 *
 * What takes part has two members. Their names are literals, so that bundlers can leave the class
 * out where nobody uses it.
 *
 * @example
 * const BRAND: Branded = { className: 'ShmemFile', copy: COPY };
 *
 * class ShmemFile {
 *   get liveupdateClass(): Branded {
 *     return BRAND;
 *   }
 *   static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
 *     return isBranded(value, this);
 *   }
 * }
 */

/** Which copy of a package made something. */
export interface PackageCopy {
  /** Its name, such as `'@liveupdate/shmem'`. */
  readonly name: string;
  /** Its version; undefined where it runs from its sources. */
  readonly version?: string | undefined;
  /** Where it lies, as a URL; undefined in a bundle. */
  readonly url?: string | undefined;
}

/** What a class is, the same in all copies, and the copy that it is of. */
export interface Branded {
  readonly className: string;
  readonly copy: PackageCopy;
}

/** The member of a prototype that says so. */
const MEMBER = 'liveupdateClass';

/**
 * Whether a value is of a class, of whichever copy: for `Symbol.hasInstance`. Copies of one major
 * version understand each other's objects, others do not.
 *
 * @param asked the class that stands right of `instanceof`: one below that which has the brand is
 * known as any class is
 */
export function isBranded(value: unknown, asked: unknown): boolean {
  const { prototype } = asked as { readonly prototype: object };
  if (!Object.hasOwn(prototype, MEMBER))
    return Function.prototype[Symbol.hasInstance].call(asked as () => void, value);
  const ours = (prototype as { readonly [MEMBER]: Branded })[MEMBER];
  const theirs = brandedClass(value);
  return theirs?.className === ours.className && isCompatible(theirs.copy, ours.copy);
}

/** Whether objects of one copy are understood by another. */
export function isCompatible(one: PackageCopy, other: PackageCopy): boolean {
  const ours = one.version?.split('.')[0]; // the major version
  const theirs = other.version?.split('.')[0];
  return !ours || !theirs || ours === theirs;
}

/** The class with a brand that an object is of; undefined where it is of none. */
export function brandedClass(value: unknown): Branded | undefined {
  return (Object(value) as { readonly [MEMBER]?: Branded })[MEMBER];
}

/** Where a copy of a package is from, in words: `@liveupdate/shmem 2.0.0 (file:///...)`. */
export function describeCopy({ name, version, url }: PackageCopy): string {
  return `${name} ${version ?? 'from its sources'}${url === undefined ? '' : ` (${url})`}`;
}
