/**
 * Nothing that comes from outside moves the cursor: whatever a handover, a file name or an option
 * says.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { FileHandler } from '@liveupdate/luo-core';
import { afterEach, expect, test, vi } from 'vitest';
import { reportFailure } from './failure.ts';
import { printable, printableLines, printJson } from './output.ts';
import { Directory, newMachine, preserveFile, runHere } from './test-cli.ts';

const HOSTILE = '\x1b[2J\x1b]0;x\x07\r\x9b\u202e';
const UNSEEN = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

afterEach(() => {
  vi.restoreAllMocks();
});

test.for<[text: string, shown: string]>([
  ['plain, ä, 漢字, 🙂', 'plain, ä, 漢字, 🙂'],
  ['\x1b[31m', '\\u{1b}[31m'],
  ['a\nb\r\t\0', 'a\\u{a}b\\u{d}\\u{9}\\u{0}'],
  ['\x7f\x80\x9b', '\\u{7f}\\u{80}\\u{9b}'],
  ['\u202e\u200b\u2028\u2029\ufeff', '\\u{202e}\\u{200b}\\u{2028}\\u{2029}\\u{feff}'],
  ['\u{e0041}', '\\u{e0041}'],
])('%j is shown', ([text, shown]) => {
  expect(printable(text)).toBe(shown);
  expect(printableLines(text)).toBe(shown.replaceAll('\\u{a}', '\n'));
});

test('JSON keeps every character, escaped', () => {
  let written = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    written += String(text);
    return true;
  });
  const value = { [HOSTILE]: [`${HOSTILE}\n\u2028\u{e0041}`] };
  printJson(value);
  vi.restoreAllMocks();
  expect(written).not.toMatch(UNSEEN);
  expect(JSON.parse(written)).toEqual(value);
});

test('a bug is told with its stack, line by line, and nothing else in it', () => {
  const { text } = reportFailure(new Error(HOSTILE));
  expect(text).not.toMatch(UNSEEN);
  expect(text.split('\n').length).toBeGreaterThan(3);
});

test('a hostile handover, and hostile words on the command line', async () => {
  using directory = new Directory();
  const thing = {};
  const handler: FileHandler<typeof thing> = {
    compatible: `k${HOSTILE}`,
    canPreserve: (file): file is typeof thing => file === thing,
    preserve: () => ({ data: 0n }),
    unpreserve: () => undefined,
    retrieve: () => thing,
    finish: () => undefined,
  };
  const { memfdHandler } = await import('@liveupdate/memfd-handler');
  const ram = join(directory.path, `ram${HOSTILE}`);
  const machine = await newMachine(ram, '16MiB', (parts) => [handler, memfdHandler(parts)]);
  await preserveFile(machine, `s${HOSTILE}`, 1n, new Uint8Array(100));
  await machine.kernel.luo.createSession('other').preserve(thing, 2n);
  await machine.handOver();
  const to = join(directory.path, `to${HOSTILE}`);
  const commands = [
    ['inspect', ram],
    ['inspect', '--json', ram],
    ['inspect', HOSTILE],
    ['export', ram, `s${HOSTILE}/1`, to],
    ['export', ram, `s${HOSTILE}/9`, to],
    ['export', ram, 'other/2', to],
    ['import', ram, `s${HOSTILE}/1`, `${HOSTILE}/none`],
    ['import', ram, `new${HOSTILE}/1`, to], // no handler for the other file
    ['remove', HOSTILE],
    [HOSTILE],
    ['inspect', `--${HOSTILE}`],
    ['import', '--size', HOSTILE, ram, 's/1', to],
    ['remove', ram],
  ];
  const codes: (number | null)[] = [];
  for (const words of commands) {
    const { status, stdout, stderr } = await runHere(...words);
    expect(stdout + stderr).not.toMatch(UNSEEN);
    expect(stdout + stderr).not.toBe('');
    codes.push(status);
  }
  expect(codes).toEqual([0, 0, 1, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0]);
  expect(fs.readdirSync(directory.path)).toEqual([`to${HOSTILE}`]);
});
