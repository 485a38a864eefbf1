import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { cpuTicks, disturbed, MachineWatch, processTicks, ticksOfTree } from './disturbance.ts';

test('the line of all processors', () => {
  expect(cpuTicks('cpu  10 2 30 400 5 1 2 7 9 0\ncpu0 1 2 3 4\n')).toEqual({
    total: 457,
    busy: 45,
    stolen: 7,
  });
  expect(cpuTicks('nothing')).toEqual({ total: 0, busy: 0, stolen: 0 });
});

test('a process may have any name', () => {
  const stat = '42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0';
  expect(processTicks(stat)).toEqual({ pid: 42, parent: 7, ticks: 127 });
  expect(processTicks('')).toBeUndefined();
});

test('work of a process is its own and that of all below it', () => {
  const processes = [
    { pid: 1, parent: 0, ticks: 1000 },
    { pid: 5, parent: 1, ticks: 1 },
    { pid: 6, parent: 5, ticks: 10 },
    { pid: 7, parent: 6, ticks: 100 },
  ];
  expect(ticksOfTree(processes, 5)).toBe(111);
  expect(ticksOfTree(processes, 9)).toBe(0);
});

/** A /proc with two processors, at one moment. */
function write(proc: string, { busy, idle, stolen, ours }: Record<string, number>): void {
  fs.mkdirSync(join(proc, '5'), { recursive: true });
  fs.writeFileSync(join(proc, 'stat'), `cpu  ${busy} 0 0 ${idle} 0 0 0 ${stolen}\n`);
  fs.writeFileSync(join(proc, '5/stat'), `5 (bench) R 1 5 5 0 -1 0 0 0 0 0 ${ours} 0 0 0 20 0`);
}

test('what others and the host had, in parts of all processors', () => {
  const proc = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-proc-'));
  try {
    write(proc, { busy: 1000, idle: 5000, stolen: 10, ours: 100 });
    const watch = new MachineWatch({ proc, pid: 5 });
    write(proc, { busy: 1150, idle: 5040, stolen: 20, ours: 180 });
    const disturbance = watch.end();
    expect(disturbance).toEqual({ others: 0.35, stolen: 0.05, waiting: undefined });
    expect(disturbed(disturbance)).toBe('other programs had 35 % of the processors, the host kept 5 %');
    expect(disturbed({ ...disturbance, others: 0.1 })).toBeUndefined();
  } finally {
    fs.rmSync(proc, { recursive: true });
  }
});

test("a child's work on this machine is ours", async () => {
  const loop = 'for (const end = Date.now() + 1500; Date.now() < end;);';
  const busy = async (): Promise<unknown> => once(spawn(process.execPath, ['-e', loop]), 'exit');
  const watch = new MachineWatch();
  const other = new MachineWatch({ pid: -1 }); // nothing is ours for it
  await busy();
  await setTimeout(50);
  expect(watch.end().others).toBeLessThan(other.end().others);
});
