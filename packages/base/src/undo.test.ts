import { describe, expect, test } from 'vitest';
import { Undo } from './undo.ts';

describe('Undo', () => {
  test('runs its steps last first when the scope ends', () => {
    const ran: string[] = [];
    {
      using undo = new Undo();
      for (const step of ['a', 'b', 'c']) undo.add(() => ran.push(step));
      expect(ran).toEqual([]);
    }
    expect(ran).toEqual(['c', 'b', 'a']);
  });

  test('runs them when the scope ends by an exception, which goes on', () => {
    const ran: string[] = [];
    const work = (): void => {
      using undo = new Undo();
      undo.add(() => ran.push('undone'));
      throw new Error('no');
    };
    expect(work).toThrow('no');
    expect(ran).toEqual(['undone']);
  });

  test('runs nothing once kept, but what is added after that', () => {
    const ran: string[] = [];
    {
      using undo = new Undo();
      undo.add(() => ran.push('before'));
      undo.keep();
      undo.add(() => ran.push('after'));
    }
    expect(ran).toEqual(['after']);
  });

  test('runs each step once, and steps that steps add', () => {
    const ran: string[] = [];
    const undo = new Undo();
    undo.add(() => {
      ran.push('outer');
      undo.add(() => ran.push('inner'));
    });
    undo[Symbol.dispose]();
    undo[Symbol.dispose]();
    expect(ran).toEqual(['outer', 'inner']);
  });
});
