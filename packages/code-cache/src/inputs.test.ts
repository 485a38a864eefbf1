/**
 * Everything that a caller can pass, of the wrong kind: an error with the code EINVAL, and nothing
 * has run or is kept.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  inputRows,
  NO_FUNCTION,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { codeCacheFile, runFromCodeCache, type CodeCacheOptions } from './code-cache.ts';

let folder: string;
let program: string;

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-code-cache-inputs-'));
  program = join(folder, 'program.cjs');
  fs.writeFileSync(program, 'globalThis.hasRun = true;');
});

afterAll(() => {
  fs.rmSync(folder, { recursive: true });
});

const NO_PATH = [...NO_TEXT, '', 'a\0'];
const NO_PROGRAM = [...NO_PATH, new URL('http://a/b'), new URL('data:text/javascript,')];
const NO_OPTIONS = [...optional(NO_OBJECT), { Directory: '/tmp' }, { '': 1 }];

const CALLS: Record<string, InputCall<undefined>> = {
  'codeCacheFile program': [(_, given: string) => codeCacheFile(given), NO_PROGRAM],
  'codeCacheFile options': [(_, given: CodeCacheOptions) => codeCacheFile(program, given), NO_OPTIONS],
  'codeCacheFile directory': [
    (_, directory: string) => codeCacheFile(program, { directory }),
    optional(NO_PATH),
  ],
  'runFromCodeCache program': [(_, given: string) => runFromCodeCache(given), NO_PROGRAM],
  'runFromCodeCache options': [(_, given: CodeCacheOptions) => runFromCodeCache(program, given), NO_OPTIONS],
  'runFromCodeCache directory': [
    (_, directory: string) => runFromCodeCache(program, { directory }),
    optional(NO_PATH),
  ],
  'runFromCodeCache keepAfter': [
    (_, keepAfter: number) => runFromCodeCache(program, { keepAfter }),
    [...optional(NO_WHOLE), 2 ** 31],
  ],
  'runFromCodeCache tell': [
    (_, tell: () => void) => runFromCodeCache(program, { tell }),
    optional(NO_FUNCTION),
  ],
};

test.each(inputRows(CALLS))('$title', ({ call }) => {
  const listeners = process.listenerCount('exit');
  expect(() => call(undefined)).toThrow(expect.objectContaining({ name: 'TypeError', code: 'EINVAL' }));
  expect('hasRun' in globalThis).toBe(false);
  expect(process.listenerCount('exit')).toBe(listeners);
  expect(fs.readdirSync(folder)).toEqual(['program.cjs']);
});
