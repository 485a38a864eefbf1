/** What a server tells its listeners, seen without being one of them. */
import type * as net from 'node:net';

/**
 * Calls `see` before each event of a server. A listener would not do: Node.js answers some requests
 * itself where nobody listens for them, such as `Expect: 100-continue` and `Upgrade: h2c`.
 */
export function watchEvents(
  server: net.Server,
  see: (event: string | symbol, ...args: readonly unknown[]) => void,
): void {
  const emit = server.emit.bind(server) as (event: string | symbol, ...args: unknown[]) => boolean;
  server.emit = (event: string | symbol, ...args: unknown[]) => {
    see(event, ...args);
    return emit(event, ...args);
  };
}
