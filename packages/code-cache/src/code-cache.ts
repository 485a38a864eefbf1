/**
 * Runs a program of CommonJS from compiled code that an earlier run of it kept: when it had run for
 * a while, or ended before by exit, or by being replaced (execve).
 *
 * V8 compiles a function when it is first called. Node's own cache (NODE_COMPILE_CACHE) is made
 * before the program has run, so that the functions are compiled anew in each process; this one is
 * made afterwards, and has all that were called. Not long afterwards: V8 forgets code that was not
 * called for some garbage collections, and a start consists of such code. The first runs of a
 * program learn: one that began with nothing calls others than one that was handed something. After
 * that the cache stays as it is, and costs nothing.
 *
 * Always: the cache counts only for the very source that it was made of, which lies in it, and
 * where nobody but its owner could write it; V8 refuses code of another version or other flags.
 * Without a cache, or where it cannot be kept, the program runs all the same.
 */
import * as fs from 'node:fs';
import Module, { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { constants, Script } from 'node:vm';
import { readCache, writeCache } from './cache-file.ts';

export interface CodeCacheOptions {
  /**
   * Milliseconds after which the code of a program that runs for so long is kept; default 2000.
   * That takes some milliseconds, in the first three runs.
   */
  readonly keepAfter?: number;
  /**
   * Where the cache lies: a directory of the user's own, made where there is none. Default: beside
   * the program, where who can write could change the program too.
   */
  readonly directory?: string;
  /**
   * Is told, in a sentence each time, whether a cache is used, and whether one was kept, or why
   * not. Such as console.error.
   */
  readonly tell?: (sentence: string) => void;
}

/** Runs of a program after which its cache is not written any more. */
const LEARNING = 3;
const KEEP_AFTER = 2000;
/** Of a timer. */
const MOST_KEEP_AFTER = 2 ** 31 - 1;

/** As Node wraps a module. */
const BEFORE = Buffer.from('(function (exports, require, module, __filename, __dirname) { ');
const BEHIND = Buffer.from('\n})');
const BYTE_ORDER_MARK = Buffer.from('\uFEFF');

type Wrapped = (
  this: unknown,
  exports: unknown,
  require: NodeJS.Require,
  module: NodeJS.Module,
  filename: string,
  directory: string,
) => void;

/**
 * A program as a function. In one step: each string of it on the way would bring the first garbage
 * collection nearer, which takes a millisecond or more.
 */
function wrapped(source: Buffer): string {
  const hasMark = source.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
  const bytes = Buffer.concat([BEFORE, hasMark ? source.subarray(BYTE_ORDER_MARK.length) : source, BEHIND]);
  // A first line for the shell is none of the program.
  if (bytes.toString('latin1', BEFORE.length, BEFORE.length + 2) === '#!') bytes.write('//', BEFORE.length);
  return bytes.toString();
}

/** What a caller passed is of a wrong kind. */
function refusal(message: string, cause?: unknown): TypeError {
  return Object.assign(new TypeError(`EINVAL: ${message}`, { cause }), { code: 'EINVAL' });
}

function isPath(given: unknown): given is string {
  return typeof given === 'string' && given !== '' && !given.includes('\0');
}

function pathOf(program: string | URL): string {
  if (isPath(program)) return resolve(program);
  if (!(program instanceof URL)) throw refusal('a program is a path or a file URL');
  try {
    return fileURLToPath(program);
  } catch (cause) {
    throw refusal(`${program.href} is no URL of a file`, cause);
  }
}

const OPTIONS: readonly string[] = ['directory', 'keepAfter', 'tell'] satisfies (keyof CodeCacheOptions)[];

function checkOptions(options: CodeCacheOptions): void {
  const given: unknown = options;
  if (typeof given !== 'object' || given === null) throw refusal('the options are an object');
  for (const name of Object.keys(given))
    if (!OPTIONS.includes(name))
      throw refusal(`there is no option '${name}': there are ${OPTIONS.join(', ')}`);
  const { directory, keepAfter = KEEP_AFTER, tell } = options;
  if (directory !== undefined && !isPath(directory)) throw refusal('directory is a path');
  if (!(Number.isInteger(keepAfter) && keepAfter >= 0 && keepAfter <= MOST_KEEP_AFTER))
    throw refusal('keepAfter is a whole number of milliseconds');
  if (tell !== undefined && typeof tell !== 'function') throw refusal('tell is a function');
}

/**
 * Where the cache of a program lies.
 *
 * @throws TypeError with the code EINVAL: no path and no file URL, or options of a wrong kind
 */
export function codeCacheFile(program: string | URL, options: CodeCacheOptions = {}): string {
  const file = pathOf(program);
  checkOptions(options);
  const { directory } = options;
  return directory === undefined
    ? `${file}.code-cache`
    : join(directory, `${encodeURIComponent(file)}.code-cache`);
}

/**
 * Runs a program, a file of CommonJS, as Node runs the one that it is started with: `require.main
 * === module` is true in it. In its first three runs what it compiled is kept: when it has run for
 * two seconds (`keepAfter`), or before that when this process ends with exit code 0 or is replaced.
 *
 * @param program a path or a file URL
 * @returns its `module.exports`
 * @throws what reading the file throws (ENOENT, EACCES, EISDIR), a SyntaxError, and whatever the
 * program throws. A TypeError with the code EINVAL: no path and no file URL, or options of a wrong
 * kind.
 *
 * @example
 * // start.mjs, which is what is started: node start.mjs
 * import { runFromCodeCache } from '@liveupdate/code-cache';
 * runFromCodeCache(new URL('./service.cjs', import.meta.url));
 */
export function runFromCodeCache(program: string | URL, options: CodeCacheOptions = {}): unknown {
  const filename = pathOf(program);
  checkOptions(options);
  const { keepAfter = KEEP_AFTER, tell } = options;
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
  tell?.(
    runs > 0 ? `${cacheFile} is used (runs: ${runs})` : `${cacheFile} holds nothing for this program yet`,
  );
  if (runs < LEARNING)
    afterOrBeforeTheEnd(keepAfter, () => {
      try {
        writeCache(cacheFile, { runs: runs + 1, source, code: script.createCachedData() });
        tell?.(`${cacheFile} is kept (runs: ${runs + 1})`);
      } catch (error) {
        tell?.(`${cacheFile} cannot be kept: ${error instanceof Error ? error.message : String(error)}`);
      }
    });
  const module = mainModule(filename);
  const run = script.runInThisContext() as Wrapped;
  const exports: unknown = module.exports;
  run.call(exports, exports, createRequire(filename), module, filename, dirname(filename));
  module.loaded = true;
  return module.exports;
}

/** Where packages are looked for, as every loader of CommonJS asks Node. */
interface ModulePaths {
  _nodeModulePaths(from: string): string[];
}

/**
 * A module that is to the program what Node's own would be: the main one, and found by who requires
 * it again.
 */
function mainModule(filename: string): NodeJS.Module {
  const module: NodeJS.Module = new Module(filename);
  module.id = '.';
  module.filename = filename;
  module.paths = (Module as unknown as ModulePaths)._nodeModulePaths(dirname(filename));
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- where Node itself takes require.main from
  process.mainModule = module;
  createRequire(filename).cache[filename] = module;
  return module;
}

/**
 * Event of `process` by which `replaceProcess` of @liveupdate/linux, and so `machine.kexec()`,
 * announces a replacement.
 */
const BEFORE_REPLACE_EVENT = 'liveupdate:beforeReplace';

/** Calls `work` once: after so many milliseconds, or when this process ends well or is replaced. */
function afterOrBeforeTheEnd(after: number, work: () => void): void {
  let isDone = false;
  const once = (): void => {
    if (isDone) return;
    isDone = true;
    work();
  };
  setTimeout(once, after).unref();
  process.on('exit', (code) => {
    if (code === 0) once();
  });
  (process as NodeJS.EventEmitter).on(BEFORE_REPLACE_EVENT, once);
  const holder = process as { execve?: (...given: unknown[]) => never };
  const execve = holder.execve?.bind(process);
  if (!execve) return;
  holder.execve = (...given) => {
    once();
    return execve(...given);
  };
}
