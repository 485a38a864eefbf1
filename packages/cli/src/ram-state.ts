/** In what state a RAM was found, in words: for those that look at it. */
import type { BootPage } from '@liveupdate/kexec';
import type { OpenImage } from './open-image.ts';

/** What JSON calls the state of a RAM that something is left in, by who owns it. */
export const STATE_OF = { none: 'handed-over', died: 'dead', lives: 'running', unknown: 'copy' } as const;

/** How an owner ended that did not hand over. */
function deathOf({ generation, ownerPid, ended, endedAt }: BootPage): string {
  const who = `generation ${generation} (pid ${ownerPid})`;
  const at = endedAt > 0 ? ` at ${new Date(endedAt).toISOString()}` : '';
  if (ended === 'exit') return `${who} exited without handing over${at}`;
  return ended === 'exception' ? `${who} died of an exception${at}` : `${who} was killed or crashed`;
}

/** A RAM that something is left in. */
export function stateInWords(page: BootPage, owner: OpenImage['owner']): string {
  const who = `generation ${page.generation}`;
  const process = `(pid ${page.ownerPid})`;
  switch (owner) {
    case 'none':
      return `handed over by ${who} ${process}`;
    case 'died':
      return `${deathOf(page)}: what it had preserved is here`;
    case 'lives':
      return `${who} runs ${process}: this is what it published last, and contents may be torn`;
    case 'unknown':
      return `a copy, made while ${who} ${process} ran or after it died: contents may be torn`;
  }
}
