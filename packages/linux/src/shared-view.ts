/** The worker's side of a shared view: the same bytes in another thread of this process. */
import { KernelError } from '@liveupdate/base';
import type { SharedView } from '@liveupdate/mm';
import { viewOf } from './libc.ts';

/** A file's bytes in a worker thread. */
export interface OpenedView {
  /**
   * The bytes themselves, not a copy. `Atomics` loads, stores, adds, exchanges and compares on an
   * integer array over `bytes.buffer` as between any threads. To wait it needs a SharedArrayBuffer:
   * `live` of what was sent is one, and is notified when the view is taken down.
   */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /**
   * False from the moment in which the main thread took the view down: `bytes` is memory of nobody
   * then.
   */
  readonly isLive: boolean;
}

/**
 * Opens what `share()` gave in the main thread, in a worker of the same process.
 *
 * @example
 * parentPort.once('message', (shared) => {
 *   const view = openSharedView(shared);
 *   Atomics.add(new Int32Array(view.bytes.buffer), 0, 1);
 * });
 *
 * @throws KernelError EINVAL: nothing that `share()` gave. EOPNOTSUPP: not Linux on x64 or arm64.
 */
export function openSharedView(shared: SharedView): OpenedView {
  const { address, length, live } = Object(shared) as Partial<SharedView>;
  if (
    typeof address !== 'bigint' ||
    address <= 0n ||
    !Number.isSafeInteger(length) ||
    (length ?? 0) < 0 ||
    !(live instanceof SharedArrayBuffer) ||
    live.byteLength !== Int32Array.BYTES_PER_ELEMENT
  )
    throw new KernelError('EINVAL', 'this is no shared view: send what share() gave, by postMessage');
  const word = new Int32Array(live);
  const isLive = (): boolean => Atomics.load(word, 0) === 1;
  return {
    bytes: length === 0 ? new Uint8Array(0) : new Uint8Array(viewOf(address, length ?? 0)),
    get isLive() {
      return isLive();
    },
  };
}
