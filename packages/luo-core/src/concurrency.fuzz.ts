/**
 * Calls on several sessions, none waiting for another, while handovers start and are called off.
 * Against a naive model, which does one after the other in the order of asking: the same results,
 * the same sessions in the next kernel, and every call ends. Run again what failed with
 * LIVEUPDATE_SEED.
 */
import { assert, KernelError, Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { expect, test } from 'vitest';
import type { IncomingSession } from './incoming-session.ts';
import type { OutgoingSession } from './outgoing-session.ts';
import { flbKernel, type FlbKernel } from './test-flb.ts';
import { Counter, outcome, Script } from './test-kernel.ts';

const VALUES = 40;
const TOKENS = 12;

/** Which files make trouble, by their value. */
const TROUBLE = {
  preserve: (value: number) => value % 7 === 6,
  freeze: (value: number) => value % 11 === 10,
  retrieve: (value: number) => value % 5 === 4,
} as const;

interface ModelSession {
  state: 'open' | 'ended';
  /** Values by token, in order. */
  readonly files: Map<number, number>;
}

/** What a kernel should be like: a few maps, and one call after the other. */
class Model {
  state: 'running' | 'handed-over' = 'running';
  readonly outgoing: ModelSession[] = [];
  readonly preserved = new Set<number>();

  preserve(session: ModelSession, value: number, token: number): string {
    if (session.state === 'ended') return 'EINVAL';
    if (this.state !== 'running') return 'EBUSY';
    if (session.files.has(token)) return 'EEXIST';
    if (this.preserved.has(value)) return 'EBUSY';
    if (TROUBLE.preserve(value)) return 'EIO';
    this.preserved.add(value);
    session.files.set(token, value);
    return 'ok';
  }

  /** All are looked at before the first is preserved; all or none. */
  preserveAll(session: ModelSession, files: readonly (readonly [token: number, value: number])[]): string {
    if (session.state === 'ended') return 'EINVAL';
    if (this.state !== 'running') return 'EBUSY';
    const [tokens, values] = [new Set(session.files.keys()), new Set(this.preserved)];
    for (const [token, value] of files) {
      if (tokens.has(token)) return 'EEXIST';
      if (values.has(value)) return 'EBUSY';
      tokens.add(token);
      values.add(value);
    }
    if (files.some(([, value]) => TROUBLE.preserve(value))) return 'EIO';
    for (const [token, value] of files) this.preserve(session, value, token);
    return 'ok';
  }

  unpreserve(session: ModelSession, token: number): string {
    if (session.state === 'ended') return 'EINVAL';
    if (this.state !== 'running') return 'EBUSY';
    const value = session.files.get(token);
    if (value === undefined) return 'ENOENT';
    this.preserved.delete(value);
    session.files.delete(token);
    return 'ok';
  }

  close(session: ModelSession): string {
    if (session.state === 'ended') return 'ok';
    if (this.state !== 'running') return 'EBUSY';
    for (const value of session.files.values()) this.preserved.delete(value);
    session.state = 'ended';
    return 'ok';
  }

  retrieve(session: ModelSession, token: number): string {
    if (session.state === 'ended') return 'EINVAL';
    if (this.state !== 'running') return 'EBUSY';
    const value = session.files.get(token);
    if (value === undefined) return 'ENOENT';
    return TROUBLE.retrieve(value) ? 'EIO' : 'ok';
  }

  finish(session: ModelSession): string {
    if (session.state === 'ended') return 'EINVAL';
    if (this.state !== 'running') return 'EBUSY';
    session.state = 'ended';
    return 'ok';
  }

  reboot(): string {
    if (this.state !== 'running') return 'EBUSY';
    if ([...this.preserved].some(TROUBLE.freeze)) return 'EIO';
    this.state = 'handed-over';
    return 'ok';
  }

  cancel(): string {
    if (this.state === 'running') return 'EINVAL';
    this.state = 'running';
    return 'ok';
  }
}

/** The real thing beside its model. */
type Pair<S> = readonly [S, ModelSession];

const troubleOf = (random: Prng): Script => {
  const script = new Script();
  script.async = true;
  script.turns = () => 1 + random.below(6);
  script.fail = (callback, value) => {
    const bad = Object.hasOwn(TROUBLE, callback) && TROUBLE[callback as keyof typeof TROUBLE](value);
    return bad ? new KernelError('EIO', `${callback} ${value} makes trouble`) : undefined;
  };
  return script;
};

/**
 * One generation: calls in batches, then a handover. Gives the next kernel and what must be in it.
 */
async function generation(
  kernel: FlbKernel,
  expected: readonly ModelSession[],
  random: Prng,
): Promise<readonly ModelSession[]> {
  const { luo } = kernel;
  const model = new Model();
  const counters = Array.from({ length: VALUES }, (_, value) => new Counter(value));
  const incoming = expected.map((session, i): Pair<IncomingSession> => [luo.incomingSessions[i], session]);
  const outgoing: Pair<OutgoingSession>[] = [];
  const pick = <T>(from: readonly T[]): T => from[random.below(from.length)];
  const create = (): void => {
    // At once, and not in its turn: it depends on how far the calls before have come. Where it
    // works, the session is there for what follows.
    try {
      const session: ModelSession = { state: 'open', files: new Map() };
      outgoing.push([luo.createSession(`session ${outgoing.length}`), session]);
      model.outgoing.push(session);
    } catch (error) {
      expect(error).toMatchObject({ code: 'EBUSY' });
    }
  };

  for (let batch = 0; batch < 6; batch++) {
    if (outgoing.length === 0) create();
    const calls: { readonly name: string; readonly real: Promise<string>; readonly wanted: string }[] = [];
    const call = (name: string, real: () => Promise<unknown>, wanted: string): void => {
      calls.push({ name, real: outcome(real), wanted });
    };
    for (let i = random.below(40); i >= 0; i--) {
      const [session, its] = pick(outgoing);
      const [value, token] = [random.below(VALUES), random.below(TOKENS)];
      switch (random.below(13)) {
        case 0:
          create();
          break;
        case 1:
          call(`close ${session.name}`, () => session.close(), model.close(its));
          break;
        case 2:
          call('reboot', () => luo.reboot(), model.reboot());
          break;
        case 3:
          call('cancel', () => luo.cancelReboot(), model.cancel());
          break;
        case 4:
        case 5:
          call(
            `unpreserve ${token} of ${session.name}`,
            () => session.unpreserve(token),
            model.unpreserve(its, token),
          );
          break;
        case 6:
        case 7: {
          if (incoming.length === 0) break;
          const [left, known] = pick(incoming);
          if (random.below(6) === 0) call(`finish ${left.name}`, () => left.finish(), model.finish(known));
          else
            call(
              `retrieve ${token} of ${left.name}`,
              () => left.retrieve(token),
              model.retrieve(known, token),
            );
          break;
        }
        case 8: {
          const files = Array.from(
            { length: random.below(4) },
            () => [random.below(TOKENS), random.below(VALUES)] as const,
          );
          call(
            `preserve all of ${files.join('; ')} in ${session.name}`,
            () => session.preserveAll(files.map(([to, which]) => [to, counters[which]])),
            model.preserveAll(its, files),
          );
          break;
        }
        default:
          call(
            `preserve ${value} in ${session.name}`,
            () => session.preserve(counters[value], token),
            model.preserve(its, value, token),
          );
      }
      // Some calls come only when others have gone a little way.
      for (let turns = random.below(4); turns > 0; turns--) await Promise.resolve();
    }
    const results = await Promise.all(calls.map(({ real }) => real));
    expect(calls.map(({ name }, i) => `${name}: ${results[i]}`)).toEqual(
      calls.map(({ name, wanted }) => `${name}: ${wanted}`),
    );
    if (model.cancel() === 'ok') await luo.cancelReboot();
    for (const [session, { state, files }] of outgoing) {
      if (state === 'open')
        expect(session.files.map(({ token }) => Number(token))).toEqual([...files.keys()]);
    }
    expect(counters.map(({ references }) => references - 1)).toEqual(
      counters.map(({ value }) => (model.preserved.has(value) ? 1 : 0)),
    );
    kernel.kho.pages.assertConsistent();
  }
  // The files that will not be frozen are taken back, and the handover is made.
  for (const [session, { state, files }] of outgoing) {
    for (const [token, value] of state === 'open' ? [...files] : []) {
      if (!TROUBLE.freeze(value)) continue;
      await session.unpreserve(token);
      files.delete(token);
    }
  }
  await luo.reboot();
  return model.outgoing.filter(({ state }) => state === 'open');
}

test('no call is lost, none waits for ever, and the next kernel has what was asked for', async () => {
  const random = new Prng(seed);
  for (let run = 0; run < 25; run++) {
    let kernel = flbKernel(undefined, troubleOf(random));
    let expected: readonly ModelSession[] = [];
    for (let number = 0; number < 4; number++) {
      expected = await generation(kernel, expected, random);
      kernel = flbKernel(kernel, troubleOf(random));
      assert(kernel.luo.state === 'running', 'a new kernel runs');
      const arrived = kernel.luo.incomingSessions.map(({ files }) => files.map(({ token }) => Number(token)));
      expect(arrived).toEqual(expected.map(({ files }) => [...files.keys()]));
      const held = expected.flatMap(({ files }) => [...files.values()]);
      const counts = [held.filter((value) => value % 2 === 1).length, held.length];
      expect(kernel.luo.incomingFlbs.map(({ files }) => Number(files))).toEqual(
        counts.filter((count) => count > 0),
      );
    }
  }
});
