/** Trials with processes of their own: replaced ones, and ones that do something for the first time. */
import { timed } from './baselines.ts';
import { Child, runToEnd } from './child-process.ts';
import type { FirstUse } from './first-use.ts';
import type { Trial } from './runner.ts';
import type { Blackout } from './service.ts';

/** A service that is replaced in each round, and the empty program in between. */
export function replacement(huge: boolean): Trial['prepare'] {
  return async ({ size }) => {
    const service = new Child<Blackout>('service', String(size), huge ? 'huge' : 'small');
    try {
      await service.line(); // it stands, its file is filled
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
    const replace = async (): Promise<Record<string, number>> => {
      service.go();
      const phases = { ...(await service.line()) };
      await service.line(); // it stands again
      const blackout = Object.values(phases).reduce((sum, phase) => sum + phase, 0);
      return { blackout, ...phases };
    };
    const runEmpty = (): Promise<number> => timed(() => runToEnd('empty'));
    return {
      run: async (round) => {
        if (round % 2 === 0) return { empty: await runEmpty(), ...(await replace()) };
        return { ...(await replace()), empty: await runEmpty() };
      },
      end: () => service[Symbol.asyncDispose](),
    };
  };
}

/** In each round a program that preserves a file for the first time, and the empty program's memory. */
export const firstUse: Trial['prepare'] = ({ size }) => ({
  run: async () => {
    await using program = new Child<FirstUse>('first-use', String(size));
    const { anonymous, ...times } = await program.line();
    await using empty = new Child<{ anonymous: number }>('empty-memory');
    return { ...times, outside: anonymous - (await empty.line()).anonymous };
  },
  end: () => undefined,
});
