/** Moments at which keys end, as clients name them. */
import { CommandError, SYNTAX, type CommandClient } from '../command.ts';
import type { Request } from '../request-parser.ts';
import type { Expires } from '../store.ts';
import { integer, word } from '../words.ts';

const SECOND = 1000n;
const MOST = 2n ** 63n - 1n;
/** The latest moment that a map takes: in 273,000 years. */
const LATEST = 8.64e15;

/** How a moment is named: from now on or since the epoch, in seconds or in milliseconds. */
export interface Clock {
  readonly isRelative: boolean;
  readonly isSeconds: boolean;
}

/** By the options of SET and GETEX. */
const CLOCKS: ReadonlyMap<string, Clock> = new Map([
  ['EX', { isRelative: true, isSeconds: true }],
  ['PX', { isRelative: true, isSeconds: false }],
  ['EXAT', { isRelative: false, isSeconds: true }],
  ['PXAT', { isRelative: false, isSeconds: false }],
]);

function clockOf(option: string): Clock | undefined {
  return CLOCKS.get(option);
}

/**
 * Milliseconds since the epoch. What is later than the latest Date is as if it was then.
 *
 * @throws CommandError: no integer, or beyond 64 bits
 */
export function moment(bytes: Buffer, clock: Clock, now: number, command: string): number {
  const given = integer(bytes);
  const milliseconds = clock.isSeconds ? given * SECOND : given;
  const when = clock.isRelative ? milliseconds + BigInt(now) : milliseconds;
  if (milliseconds > MOST || milliseconds < -MOST || when > MOST) throw invalid(command);
  return Math.max(0, Math.min(LATEST, Number(when)));
}

/** The same where it must not be 0 or less. */
export function positiveMoment(bytes: Buffer, clock: Clock, client: CommandClient, command: string): number {
  if (integer(bytes) <= 0n) throw invalid(command);
  return moment(bytes, clock, client.store.now(), command);
}

function invalid(command: string): CommandError {
  return new CommandError(`ERR invalid expire time in '${command}' command`);
}

/** What SET and GETEX have in common. */
export interface ExpiryOptions {
  /** Undefined: nothing was said. */
  readonly expires: Expires | undefined;
  /** The other options, each at most once. */
  readonly others: ReadonlySet<string>;
}

/**
 * Options that come in any order.
 *
 * @param known those that stand alone
 * @param expiring those of them that say when it ends: at most one may be there
 * @throws CommandError: another one, or two that exclude one another
 */
export function expiryOptions(
  client: CommandClient,
  args: Request,
  from: number,
  known: readonly string[],
  expiring: ReadonlyMap<string, Expires>,
): ExpiryOptions {
  let expires: Expires | undefined;
  const others = new Set<string>();
  const expiresBy = (value: Expires): void => {
    if (expires !== undefined) throw new CommandError(SYNTAX);
    expires = value;
  };
  for (let i = from; i < args.length; i++) {
    const option = word(args[i]);
    const alone = expiring.get(option);
    const clock = clockOf(option);
    if (alone !== undefined) {
      expiresBy(alone);
    } else if (clock && i + 1 < args.length) {
      i += 1;
      expiresBy(positiveMoment(args[i], clock, client, args[0].toString('latin1').toLowerCase()));
    } else if (known.includes(option)) {
      others.add(option);
    } else {
      throw new CommandError(SYNTAX);
    }
  }
  return { expires, others };
}
