/**
 * The table of states is walked: what can be reached, what leads out, and what every other step
 * does.
 */
import { AssertionError, codeOf } from '@liveupdate/base';
import { describe, expect, it } from 'vitest';
import { MachineState, TRANSITIONS, type RunningState, type StateName, type Step } from './machine-state.ts';

const RUNNING: RunningState[] = ['trial', 'guest', 'owner'];
const STATES = Object.keys(TRANSITIONS) as StateName[];
const STEPS: Step[] = ['own', 'begin', 'freeze', 'seal', 'thaw', 'resume', 'close'];

function after(start: RunningState, steps: readonly Step[]): MachineState {
  const state = new MachineState(start);
  for (const step of steps) state.take(step);
  return state;
}

/** Every way of at most eight steps from a start, each told by its steps. */
function* walks(start: RunningState, steps: Step[] = []): Generator<Step[]> {
  yield steps;
  if (steps.length === 8) return;
  const state = after(start, steps);
  for (const step of STEPS) if (state.can(step)) yield* walks(start, [...steps, step]);
}

describe.each(RUNNING)('a machine that starts as %s', (start) => {
  const all = [...walks(start)];

  it('is never stuck: it can be closed, and a handover can be called off, from wherever it is', () => {
    for (const steps of all) {
      const state = after(start, steps);
      if (state.isClosed) continue;
      expect(state.can('close')).toBe(true);
      if (state.can('thaw')) state.take('thaw');
      if (state.can('resume')) state.take('resume');
      expect(state.isRunning).toBe(true);
      expect(state.name).toBe(steps.includes('own') ? 'owner' : start);
    }
  });

  it('reaches every state but the other ways to run', () => {
    const reached = new Set(all.map((steps) => after(start, steps).name));
    const others: StateName[] = RUNNING.filter(
      (name) => name !== start && !(start === 'trial' && name === 'owner'),
    );
    expect([...reached].sort()).toEqual(STATES.filter((name) => !others.includes(name)).sort());
  });

  it('says EBADF once it is closed, EBUSY where two handovers meet, and takes no other step', () => {
    for (const steps of all) {
      const state = after(start, steps);
      const { name } = state;
      for (const step of STEPS) {
        if (state.can(step)) continue;
        let thrown: unknown;
        try {
          state.take(step);
        } catch (error) {
          thrown = error;
        }
        if (name === 'closed') expect(codeOf(thrown)).toBe('EBADF');
        else if (step === 'begin') expect(codeOf(thrown)).toBe('EBUSY');
        else expect(thrown).toBeInstanceOf(AssertionError);
        expect(state.name).toBe(name);
      }
    }
  });
});
