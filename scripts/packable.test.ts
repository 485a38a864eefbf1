import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const SCRIPT = join(import.meta.dirname, 'packable.cjs');
const MANIFEST = {
  name: '@x/y',
  exports: {
    '.': { '@liveupdate/source': './src/index.ts', types: './dist/index.d.ts', default: './dist/index.js' },
  },
  bin: { y: './dist/main.js' },
};

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'packable-'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify(MANIFEST));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function build(...files: string[]): void {
  mkdirSync(join(folder, 'dist'), { recursive: true });
  for (const file of files) writeFileSync(join(folder, 'dist', file), '');
}

function run(agent: string, ...args: string[]): { status: number | null; stderr: string } {
  const env = { ...process.env, npm_config_user_agent: agent };
  const { status, stderr } = spawnSync(process.execPath, [SCRIPT, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env,
  });
  return { status, stderr };
}

test('what is not built is not packed, and the sentence says what is missing', () => {
  expect(run('pnpm/12.0.0')).toEqual({
    status: 1,
    stderr:
      "liveupdate: @x/y is not built: ./dist/index.d.ts is missing. Run 'npm run build' at the root first.\n",
  });
  build('index.d.ts', 'index.js');
  expect(run('pnpm/12.0.0').stderr).toContain('./dist/main.js is missing');
  build('main.js');
  expect(run('pnpm/12.0.0')).toEqual({ status: 0, stderr: '' });
  expect(run('npm/11.0.0')).toEqual({ status: 0, stderr: '' });
});

test('npm does not publish by mistake', () => {
  build('index.d.ts', 'index.js', 'main.js');
  expect(run('npm/11.0.0', 'publish').stderr).toMatch(/^liveupdate: @x\/y is published by pnpm/);
  expect(run('npm/11.0.0', 'publish').status).toBe(1);
  expect(run('pnpm/12.0.0', 'publish')).toEqual({ status: 0, stderr: '' });
});

test('chunks of an earlier build are not packed', () => {
  build('index.d.ts', 'main.js', 'empty-memories.js');
  const write = (file: string, text: string) => {
    writeFileSync(join(folder, 'dist', file), text);
  };
  write('index.js', "import './chunk-AAAAAAAA.js';");
  write('chunk-AAAAAAAA.js', "import './part-BBBBBBB2.js';");
  write('chunk-AAAAAAAA.js.map', '');
  write('part-BBBBBBB2.js', '');
  write('index.d.ts', "import './types-ChGkFjVh.js';");
  write('types-ChGkFjVh.d.ts', '');
  const kept = readdirSync(join(folder, 'dist'));
  write('chunk-CCCCCCCC.js', "import './part-DDDDDDDD.js';");
  write('chunk-CCCCCCCC.js.map', 'chunk-AAAAAAAA');
  write('part-DDDDDDDD.js', '');
  write('types-DzLU7TsW.d.ts', '');
  expect(run('pnpm/12.0.0')).toEqual({ status: 0, stderr: '' });
  expect(readdirSync(join(folder, 'dist'))).toEqual(kept);
});
