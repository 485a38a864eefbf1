/** Work that can be told to stop: by Ctrl-C, or by whoever ends processes. */
import { KernelError } from '@liveupdate/base';

/**
 * The result of work that is given up where it looks at the signal.
 *
 * @param left what is left then, for the message
 * @throws KernelError EINTR: told to stop. Whatever the work throws.
 */
export async function untilTold<T>(left: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => {
    controller.abort();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, stop);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    throw new KernelError('EINTR', `told to stop: ${left}`, { cause: error });
  } finally {
    for (const signal of signals) process.off(signal, stop);
  }
}
