/**
 * Runs a program of CommonJS from compiled code that was kept when an earlier run of it ended: by exit, or by being replaced (execve).
 *
 * V8 compiles a function when it is first called. Node's own cache (NODE_COMPILE_CACHE) is made before the program has run, so that the functions are
 * compiled anew in each process; this one is made afterwards, and has all that were called. The first runs of a program learn: one that began
 * with nothing calls others than one that was handed something. After that the cache stays as it is, and ending costs nothing.
 *
 * Always: the cache counts only for the very source that it was made of, which lies in it, and where nobody but its owner could write it; V8 refuses code of another
 * version or other flags. Without a cache, or where it cannot be kept, the program runs all the same.
 */
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { constants, Script } from 'node:vm';
import { readCache, writeCache } from './cache-file.ts';

export interface CodeCacheOptions {
  /**
   * Where the cache lies: a directory of the user's own, which is there. Default: beside the program, where who can write could change the program too.
   */
  readonly directory?: string;
}

/** Runs of a program after which its cache is not written any more. */
const LEARNING = 3;

/** As Node wraps a module. */
const BEFORE = Buffer.from('(function (exports, require, module, __filename, __dirname) { ');
const BEHIND = Buffer.from('\n})');
const BYTE_ORDER_MARK = Buffer.from('\uFEFF');

type Wrapped = (
  this: unknown,
  exports: unknown,
  require: NodeJS.Require,
  module: { exports: unknown },
  filename: string,
  directory: string,
) => void;

/** A program as a function. In one step: each string of it on the way would bring the first garbage collection nearer, which takes a millisecond or more. */
function wrapped(source: Buffer): string {
  const hasMark = source.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
  const bytes = Buffer.concat([BEFORE, hasMark ? source.subarray(BYTE_ORDER_MARK.length) : source, BEHIND]);
  // A first line for the shell is none of the program.
  if (bytes.toString('latin1', BEFORE.length, BEFORE.length + 2) === '#!') bytes.write('//', BEFORE.length);
  return bytes.toString();
}

/** Where the cache of a program lies. */
export function codeCacheFile(program: string | URL, { directory }: CodeCacheOptions = {}): string {
  const file = typeof program === 'string' ? program : fileURLToPath(program);
  return directory === undefined
    ? `${file}.code-cache`
    : join(directory, `${encodeURIComponent(file)}.code-cache`);
}

/**
 * Runs a program, a file of CommonJS, as `require` would: once, in this context, with `require`, `module` and the others. What it compiled is kept when
 * this process ends with exit code 0 or is replaced, in its first three runs.
 *
 * @param program an absolute path or a file URL
 * @returns its `module.exports`
 * @throws what reading the file throws (ENOENT, EACCES, EISDIR), a SyntaxError, and whatever the program throws
 *
 * @example
 * // start.mjs, which is what is started: node start.mjs
 * import { runFromCodeCache } from '@liveupdate/code-cache';
 * runFromCodeCache(new URL('./service.cjs', import.meta.url));
 */
export function runFromCodeCache(program: string | URL, options: CodeCacheOptions = {}): unknown {
  const filename = typeof program === 'string' ? program : fileURLToPath(program);
  const source = fs.readFileSync(filename);
  const cacheFile = codeCacheFile(filename, options);
  const cache = readCache(cacheFile, source);
  const script = new Script(wrapped(source), {
    filename,
    columnOffset: -BEFORE.length,
    ...(cache && { cachedData: cache.code }),
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const runs = cache && script.cachedDataRejected !== true ? cache.runs : 0;
  if (runs < LEARNING)
    beforeTheEnd(() => {
      writeCache(cacheFile, { runs: runs + 1, source, code: script.createCachedData() });
    });
  const module = { exports: {} as unknown };
  const run = script.runInThisContext() as Wrapped;
  run.call(module.exports, module.exports, createRequire(filename), module, filename, dirname(filename));
  return module.exports;
}

/** Calls `work` once, when this process ends well or is replaced. */
function beforeTheEnd(work: () => void): void {
  let isDone = false;
  const once = (): void => {
    if (isDone) return;
    isDone = true;
    work();
  };
  process.on('exit', (code) => {
    if (code === 0) once();
  });
  const holder = process as { execve?: (...given: unknown[]) => never };
  const execve = holder.execve?.bind(process);
  if (!execve) return;
  holder.execve = (...given) => {
    once();
    return execve(...given);
  };
}
