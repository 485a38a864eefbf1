/**
 * What a program must know before it boots on a handover: whether it has a handler for every file.
 */
import { checkList } from '@liveupdate/base';
import type { Handover, LiveRecord } from '@liveupdate/kho';
import type { Ram } from '@liveupdate/mm';
import type { FileHandler } from './handler.ts';
import { readLiveSessions } from './read-live-sessions.ts';
import { readLuo } from './read-luo.ts';
import { checkStrings } from './registry.ts';

/**
 * Compatible strings in a handover, or in what a kernel that died left, that none of these handlers
 * reads: what a program must know before it boots on it.
 *
 * @throws KernelError EINVAL: the LUO records are damaged or of another version; or what should be
 * handlers is none
 */
export function missingHandlers(
  ram: Ram,
  left: Handover | LiveRecord,
  handlers: readonly FileHandler[],
): string[] {
  for (const handler of checkList(handlers, 'a list of handlers')) checkStrings('handler', handler);
  const known = new Set(handlers.flatMap((handler) => [handler.compatible, ...(handler.alsoReads ?? [])]));
  const records = 'table' in left ? readLuo(ram, left) : readLiveSessions(ram, left);
  const wanted = new Set(
    records?.sessions.flatMap((session) => session.files.map((file) => file.compatible)),
  );
  return [...wanted].filter((compatible) => !known.has(compatible));
}
