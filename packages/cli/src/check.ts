/**
 * `liveupdate check`: whether all that a RAM tells of itself is whole, and if not, what is damaged
 * and what can still be exported. Nothing is changed.
 */
import { formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { hasBootPage, readBootPage, type BootPage } from '@liveupdate/kexec';
import { checkUp, type Checkup, type CheckedFile } from './checkup.ts';
import { checkWholeSource, openSource, type OpenSource } from './image-source.ts';
import { publishedState } from './left.ts';
import { openRamFile, progressOnTerminal, resolveImagePath } from './open-image.ts';
import { printable, printJson } from './output.ts';
import { STATE_OF, stateInWords } from './ram-state.ts';

interface Result extends Checkup {
  readonly path: string;
  readonly state: (typeof STATE_OF)[keyof typeof STATE_OF] | 'empty' | 'unknown';
  /** The same for people. */
  readonly words: string;
  /** Bytes of RAM. */
  readonly size: number;
}

/**
 * Checks a RAM, by path or by name. Returns the exit code: 0 where it is whole, 1 where something
 * is damaged.
 *
 * @throws KernelError EINVAL: no RAM of liveupdate, or of another layout version. EAGAIN: its owner
 * publishes changes all the time. EBUSY: it was handed over or taken over meanwhile. Others as
 * openSource has them.
 */
export async function runCheck(given: string, { json }: { json: boolean }): Promise<number> {
  const path = resolveImagePath(given);
  const open = await openSource(path, (total) => progressOnTerminal('unpack', total));
  let result: Result;
  try {
    result = await check(path, open);
  } finally {
    open[Symbol.dispose]();
  }
  if (json) printJson(asJson(result));
  else process.stdout.write(inWords(result));
  return result.damage.length === 0 ? 0 : 1;
}

async function check(path: string, open: OpenSource): Promise<Result> {
  const { source } = open;
  checkWholeSource(source);
  const firstPage = new Uint8Array(PAGE_SIZE);
  source.read(firstPage, 0);
  if (!hasBootPage(firstPage))
    throw new KernelError(
      'EINVAL',
      `'${path}' is no RAM of liveupdate: it has no boot page ('liveupdate inspect' reads other images)`,
    );
  const about = { path, size: source.size };
  let page: BootPage;
  try {
    page = readBootPage(firstPage, source.size);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    const words = 'not known';
    const checkup = checkUp({ firstPage, page: undefined, pageDamage: error, ram: undefined });
    return { ...checkup, ...about, state: 'unknown', words };
  }
  if (page.state === 'empty') {
    const words = `empty: generation ${page.generation} ended without handing anything over`;
    const checkup = checkUp({ firstPage, page, pageDamage: undefined, ram: undefined });
    return { ...checkup, ...about, size: page.ramSize, state: 'empty', words };
  }
  const image = openRamFile(path, open);
  const checkup = await publishedState(image, () => {
    const value = checkUp({ firstPage, page, pageDamage: undefined, ram: image.ram });
    return { value, isWhole: value.damage.length === 0 };
  });
  image.checkUnchanged();
  const words = stateInWords(page, image.owner);
  return { ...checkup, ...about, size: page.ramSize, state: STATE_OF[image.owner], words };
}

function asJson({ path, state, damage, notes, sessions, files }: Result): object {
  return {
    path,
    state,
    whole: damage.length === 0,
    damage,
    notes,
    sessions,
    files: files.map(({ session, isOlder, token, compatible, state: found }) => ({
      session,
      unfinished: isOlder ? true : undefined,
      token: token.toString(),
      compatible,
      state: found,
    })),
  };
}

function inWords({ path, size, words, damage, notes, sessions, files }: Result): string {
  const lines = [`${path}: ${formatSize(size)} of RAM`, `  ${words}`, ...notes.map((note) => `  ${note}`)];
  const count = (state: CheckedFile['state']): number => files.filter((file) => file.state === state).length;
  const rest =
    count('unknown') > 0 ? `, ${count('unknown')} of kinds that only their programs can check` : '';
  lines.push(
    `  ${plural(sessions, 'session')} with ${plural(files.length, 'file')}: ${count('whole')} whole, ${count('damaged')} damaged${rest}`,
  );
  if (damage.length === 0) return `${[...lines, 'whole'].map(printable).join('\n')}\n`;
  lines.push(`damaged in ${plural(damage.length, 'place')}:`);
  for (const { part, what } of damage) lines.push(`  ${part}: ${what}`);
  const exported = files.filter(({ state }) => state === 'whole');
  if (exported.length > 0) lines.push('can be exported:');
  for (const { session, isOlder, token } of exported)
    lines.push(`  ${isOlder ? '--unfinished ' : ''}${session}/${token}`);
  return `${lines.map(printable).join('\n')}\n`;
}

function plural(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? '' : 's'}`;
}
