/**
 * Where handlers leave descriptors of the operating system for the next generation, as a service
 * leaves them in the file descriptor store of systemd.
 *
 * How they get there is the business of whoever offers the store: exec hands numbers down, a
 * process that stands by is sent them over a socket. A handler keeps what it needs when it
 * preserves, writes the key into its record, and takes by that key when it retrieves.
 */
export interface FdStore {
  /**
   * Keeps what is open under `fd`, beside whoever has it open here: it stays open until it is
   * dropped or goes along, whatever becomes of `fd`.
   *
   * @returns the key for `take`: a whole number of at most 32 bits, of no other that is kept
   * @throws KernelError EBADF: not open. EMFILE: no number is free. EOPNOTSUPP: from here it could
   * not go to whoever comes next.
   */
  keep(fd: number): number;

  /**
   * The inverse of keep.
   *
   * @throws KernelError ENOENT: nothing is kept under this key
   */
  drop(key: number): void;

  /**
   * What the generation before kept under this key: a descriptor, of any number, closed on exec,
   * the caller's from now on. Each can be taken once.
   *
   * @throws KernelError ENOENT: nothing came under this key: taken already, or descriptors did not
   * come along, as where that process died
   */
  take(key: number): number;
}
