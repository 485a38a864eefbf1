/**
 * Programs run from compiled code: real ones, in processes of their own, as often as it takes to
 * learn and once more.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readCache } from './cache-file.ts';
import { codeCacheFile, runFromCodeCache } from './code-cache.ts';

let folder: string;
let program: string;

beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-code-cache-'));
  program = join(folder, 'program.cjs');
});

afterEach(() => {
  fs.rmSync(folder, { recursive: true });
});

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the program in a process of its own. */
function run(source?: string, { flags = [] as string[], options = {} } = {}): Ended {
  if (source !== undefined) fs.writeFileSync(program, source);
  const start = join(folder, 'start.mjs');
  const library = pathToFileURL(join(import.meta.dirname, 'index.ts')).href;
  fs.writeFileSync(
    start,
    `import { runFromCodeCache } from ${JSON.stringify(library)};
     runFromCodeCache(${JSON.stringify(program)}, ${JSON.stringify(options)});`,
  );
  return spawnSync(process.execPath, ['--no-warnings', ...flags, start, 'word'], { encoding: 'utf8' });
}

/** Runs that the kept cache knows; undefined where there is none for the program as it is. */
function runsKept(file = codeCacheFile(program)): number | undefined {
  return readCache(file, fs.readFileSync(program))?.runs;
}

/** A program with many functions, of which it calls all or none. */
const manyFunctions = (called: boolean): string => {
  const names = Array.from({ length: 200 }, (_, i) => `f${i}`);
  const functions = names.map(
    (name) => `function ${name}(x) { return x.a + x.b * 2 + [1, 2, 3].map((y) => y + x.c).length; }`,
  );
  const all = `[${names.join(', ')}].map((f) => f({ a: 1, b: 2, c: 3 })).length`;
  return `${functions.join('\n')}\nconsole.log(${called ? all : 0}, ${called ? '' : `() => ${all}`});`;
};

describe('a program', () => {
  test('has what a module of CommonJS has, in each of its runs', () => {
    fs.writeFileSync(join(folder, 'other.cjs'), 'exports.three = 3;');
    fs.writeFileSync(join(folder, 'esm.mjs'), 'export const four = 4;');
    const source = `#!/usr/bin/env node
      const { three } = require('./other.cjs');
      exports.five = 5;
      console.log(__filename, __dirname, three, this === module.exports, module.exports.five, process.argv[2]);
      import('./esm.mjs').then(({ four }) => console.log(four, require('node:path').basename(__filename)));`;
    for (let i = 0; i < 5; i++) {
      expect(run(source)).toMatchObject({
        status: 0,
        stdout: `${program} ${folder} 3 true 5 word\n4 program.cjs\n`,
        stderr: '',
      });
    }
  });

  test('is the main module, as of a program that Node was started with', () => {
    fs.writeFileSync(
      join(folder, 'other.cjs'),
      'exports.same = require("./program.cjs"); exports.main = require.main;',
    );
    const source = `
      const assert = require('node:assert');
      exports.early = 1;
      assert.equal(require.main, module);
      assert.equal(require.cache[__filename], module);
      const { same, main } = require('./other.cjs');
      assert.deepEqual([same === exports, main === module], [true, true]);
      assert.deepEqual([module.id, module.filename, module.loaded], ['.', __filename, false]);
      assert.equal(module.paths[0], require('node:path').join(__dirname, 'node_modules'));
      assert.equal(module.require('./other.cjs').same, exports);
      setImmediate(() => { assert.equal(module.loaded, true); console.log('as ever'); });`;
    expect(run(source)).toMatchObject({ status: 0, stdout: 'as ever\n', stderr: '' });
  });

  test('may be named by a path that begins here', () => {
    fs.writeFileSync(program, 'module.exports = __filename;');
    expect(runFromCodeCache(relative(process.cwd(), program))).toBe(program);
  });

  test('gives its exports', () => {
    fs.writeFileSync(program, '\uFEFFmodule.exports = { answer: 42, dirname: __dirname };');
    expect(runFromCodeCache(pathToFileURL(program))).toEqual({ answer: 42, dirname: folder });
  });

  test('is started as the README has it', () => {
    const page = fs.readFileSync(join(import.meta.dirname, '../README.md'), 'utf8');
    const start = /```js\n(?<code>[^`]+)```/.exec(page)?.groups?.['code'] ?? '';
    const library = pathToFileURL(join(import.meta.dirname, 'index.ts')).href;
    fs.writeFileSync(join(folder, 'start.mjs'), start.replace('@liveupdate/code-cache', library));
    program = join(folder, 'service.cjs');
    fs.writeFileSync(program, 'console.log(__filename);');
    const ended = spawnSync(process.execPath, ['--no-warnings', join(folder, 'start.mjs')], {
      encoding: 'utf8',
    });
    expect(ended).toMatchObject({ status: 0, stdout: `${program}\n`, stderr: '' });
    expect(runsKept()).toBe(1);
  });

  test('throws what it throws, and at the line and column where it does', () => {
    const ended = run(`null.x;`);
    expect(ended.status).toBe(1);
    expect(ended.stderr).toContain(`${program}:1:6`);
    expect(run(`\n\n  throw new Error('third');`).stderr).toContain(`${program}:3:9`);
    expect(run(`}`).stderr).toContain('SyntaxError');
    expect(runsKept()).toBeUndefined();
  });

  test('that is not there is ENOENT', () => {
    expect(() => runFromCodeCache(join(folder, 'none.cjs'))).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });
});

describe('the cache', () => {
  test('learns in three runs and stays as it is then; nobody else can read it', () => {
    for (const runs of [1, 2, 3]) {
      run('console.log(1);');
      expect(runsKept()).toBe(runs);
    }
    const before = fs.statSync(codeCacheFile(program), { bigint: true });
    expect(before.mode & 0o777n).toBe(0o600n);
    run();
    expect(fs.statSync(codeCacheFile(program), { bigint: true })).toMatchObject({
      mtimeNs: before.mtimeNs,
      ino: before.ino,
    });
    expect(fs.readdirSync(folder).sort()).toEqual(['program.cjs', 'program.cjs.code-cache', 'start.mjs']);
  });

  test('has the functions that were called, and not the others', () => {
    const size = (called: boolean): number => {
      run(manyFunctions(called));
      return readCache(codeCacheFile(program), fs.readFileSync(program))!.code.length;
    };
    expect(size(true)).toBeGreaterThan(2 * size(false));
  });

  test('has what a start needs, of a program that runs for long', () => {
    const flags = ['--expose-gc', '--stress-flush-code']; // as some minutes do
    const lives = `${manyFunctions(true)}
      setTimeout(() => { gc(); gc(); }, 200);`;
    const keptOf = (keepAfter: number): number => {
      fs.rmSync(codeCacheFile(program), { force: true });
      expect(run(lives, { flags, options: { keepAfter } }).status).toBe(0);
      return readCache(codeCacheFile(program), fs.readFileSync(program))!.code.length;
    };
    expect(keptOf(20)).toBeGreaterThan(2 * keptOf(60_000));
  });

  test('is that of one source, to the last byte', () => {
    run('console.log(1);');
    run();
    expect(run('console.log(2);').stdout).toBe('2\n');
    expect(runsKept()).toBe(1);
  });

  test('is used only by a Node that compiles as the one that made it', () => {
    run('console.log(1);');
    run();
    expect(run(undefined, { flags: ['--no-opt'] }).stdout).toBe('1\n');
    expect(runsKept()).toBe(1);
  });

  test('is written before the process is replaced', () => {
    const source = `if (process.env.TURN) return console.log('second');
      process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], { ...process.env, TURN: '2' });`;
    expect(run(source).stdout).toBe('second\n');
    expect(runsKept()).toBe(2);
  });

  test('is written before kexec replaces the process', () => {
    expect(run("process.emit('liveupdate:beforeReplace', {}); process.reallyExit(3);").status).toBe(3);
    expect(runsKept()).toBe(1);
  });

  test('is not kept of a run that fails', () => {
    expect(run('process.exit(3);').status).toBe(3);
    expect(runsKept()).toBeUndefined();
  });

  const spoiled: [string, (file: string) => void][] = [
    ['is empty', (file) => fs.truncateSync(file, 0)],
    ['is cut short', (file) => fs.truncateSync(file, fs.statSync(file).size - 1)],
    ['has bytes behind it', (file) => fs.appendFileSync(file, 'x')],
    ['is something else', (file) => fs.writeFileSync(file, Buffer.alloc(1000, 7))],
    ['may be written by others', (file) => fs.chmodSync(file, 0o622)],
    [
      'is a symbolic link',
      (file) => {
        fs.renameSync(file, `${file}.there`);
        fs.symlinkSync(`${file}.there`, file);
      },
    ],
    [
      'is damaged in its code',
      (file) => {
        const bytes = fs.readFileSync(file);
        bytes[bytes.length - 100] ^= 4;
        fs.writeFileSync(file, bytes);
      },
    ],
  ];
  test.each(spoiled)('that %s is made anew', (_, spoil) => {
    run('console.log(1);');
    run();
    spoil(codeCacheFile(program));
    expect(run()).toMatchObject({ status: 0, stdout: '1\n', stderr: '' });
    expect(runsKept()).toBe(1);
    expect(fs.lstatSync(codeCacheFile(program)).mode & 0o777).toBe(0o600);
  });

  test('tells what becomes of it, where somebody asks', () => {
    const start = join(folder, 'telling.mjs');
    const library = pathToFileURL(join(import.meta.dirname, 'index.ts')).href;
    fs.writeFileSync(program, '');
    fs.writeFileSync(
      start,
      `import { runFromCodeCache } from ${JSON.stringify(library)};
       runFromCodeCache(${JSON.stringify(program)}, { tell: (sentence) => console.log(sentence) });`,
    );
    const said = (): string =>
      spawnSync(process.execPath, ['--no-warnings', start], { encoding: 'utf8' }).stdout;
    expect(said()).toMatch(/holds nothing for this program yet\n.* is kept \(runs: 1\)\n$/);
    expect(said()).toMatch(/is used \(runs: 1\)\n.* is kept \(runs: 2\)\n$/);
    said();
    expect(said()).toMatch(/^\S+ is used \(runs: 3\)\n$/);
    fs.rmSync(codeCacheFile(program));
    fs.mkdirSync(codeCacheFile(program));
    expect(said()).toMatch(/holds nothing for this program yet\n.* cannot be kept: EISDIR.*\n$/);
  });

  test('of a full disk is tried again, and its draft does not stay', (context) => {
    if (process.geteuid?.() !== 0) context.skip('only root can mount a small tmpfs');
    const kept = join(folder, 'kept');
    fs.mkdirSync(kept);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'none', kept]);
    try {
      const options = { directory: kept };
      expect(run(manyFunctions(true), { options }).status).toBe(0);
      expect(fs.readdirSync(kept)).toEqual([]);
      execFileSync('mount', ['-o', 'remount,size=8m', kept]);
      run(undefined, { options });
      expect(runsKept(codeCacheFile(program, options))).toBe(1);
    } finally {
      execFileSync('umount', [kept]);
    }
  });

  test("of another user's is not read", (context) => {
    if (process.geteuid?.() !== 0) context.skip('only root can give a file away');
    run('console.log(1);');
    run();
    fs.chownSync(codeCacheFile(program), 1, 1);
    expect(runsKept()).toBeUndefined();
    run();
    expect(runsKept()).toBe(1);
  });

  test('lies in a directory of choice; where it cannot lie anywhere, the program runs without it', () => {
    fs.mkdirSync(join(folder, 'kept'));
    const options = { directory: join(folder, 'kept') };
    run('console.log(1);', { options });
    expect([runsKept(), runsKept(codeCacheFile(program, options))]).toEqual([undefined, 1]);
    const made = { directory: join(folder, 'made', 'now') };
    expect(run(undefined, { options: made })).toMatchObject({ status: 0, stdout: '1\n', stderr: '' });
    expect([runsKept(codeCacheFile(program, made)), fs.statSync(made.directory).mode & 0o777]).toEqual([
      1, 0o700,
    ]);
    const nowhere = { directory: join(program, 'is', 'a', 'file') };
    expect(run(undefined, { options: nowhere })).toMatchObject({ status: 0, stdout: '1\n', stderr: '' });
    fs.mkdirSync(codeCacheFile(program));
    expect(run()).toMatchObject({ status: 0, stdout: '1\n', stderr: '' });
    expect(fs.readdirSync(folder).filter((name) => name.includes('code-cache'))).toEqual([
      'program.cjs.code-cache',
    ]);
  });
});
