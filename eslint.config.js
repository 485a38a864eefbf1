import { builtinModules } from 'node:module';
import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import stylistic from '@stylistic/eslint-plugin';
import ts from 'typescript-eslint';

// Who may import whom: an arrow of ARCHITECTURE.md per entry. Nothing imports upward.
const arrows = {
  'packages/base': [],
  'packages/mm': ['base'],
  'packages/kho': ['base', 'mm'],
  'packages/luo-core': ['base', 'mm', 'kho'],
  'packages/shmem': ['base', 'mm'],
  'packages/memfd-handler': ['base', 'mm', 'kho', 'luo-core', 'shmem'],
  'packages/eventfd-handler': ['base', 'kho', 'luo-core'],
  'packages/linux': ['base', 'mm'],
  'packages/fd-handler': ['base', 'kho', 'luo-core', 'linux'],
  'packages/device': ['base', 'luo-core', 'linux'],
  'packages/streams': ['base', 'mm', 'shmem'],
  'packages/map': ['base', 'mm', 'shmem'],
  'packages/memory-image': ['base', 'mm'],
  'packages/code-cache': [],
  'packages/boot-image': ['base', 'mm', 'kho'],
  'packages/kexec': ['base', 'mm', 'kho', 'luo-core', 'shmem', 'memfd-handler', 'linux'],
  'packages/handler-testkit': ['base', 'mm', 'kho', 'luo-core', 'shmem'],
  'packages/service': ['base', 'mm', 'luo-core', 'shmem', 'linux', 'kexec'],
  'packages/cli': [
    'base',
    'mm',
    'kho',
    'luo-core',
    'shmem',
    'memfd-handler',
    'linux',
    'boot-image',
    'device',
    'streams',
    'memory-image',
    'kexec',
    'service',
  ],
  'apps/bench': [
    'base',
    'mm',
    'kho',
    'luo-core',
    'shmem',
    'memfd-handler',
    'linux',
    'map',
    'kexec',
    'code-cache',
    'service',
  ],
  'apps/cache': ['base', 'map', 'service'],
  'apps/interop': [
    'base',
    'mm',
    'kho',
    'luo-core',
    'shmem',
    'memfd-handler',
    'linux',
    'device',
    'boot-image',
    'kexec',
    'service',
  ],
};

// What tests may import besides, to compare with and to be run by.
const testArrows = {
  'packages/kho': ['memory-image'],
  'packages/memfd-handler': ['memory-image'],
  'packages/eventfd-handler': ['handler-testkit', 'linux', 'mm'],
  'packages/fd-handler': ['handler-testkit', 'kexec', 'mm'],
  'packages/handler-testkit': ['memfd-handler', 'kexec'],
  'packages/code-cache': ['base'],
  'packages/map': ['linux'],
};

// These run in a browser: plain TypeScript, nothing of Node.js.
const core = [
  'base',
  'mm',
  'kho',
  'luo-core',
  'shmem',
  'map',
  'memfd-handler',
  'eventfd-handler',
  'handler-testkit',
].map((name) => `packages/${name}`);

const tests = ['**/*.{test,fuzz,bench,stores,linux}.ts', '**/test-*.ts'];

const noUpward = (allowed) => ({
  group: ['@liveupdate/*', ...allowed.map((name) => `!@liveupdate/${name}`)],
  message: 'This package stands below that one: see the arrows in ARCHITECTURE.md.',
});
const sidesteps = ['../../*', '**/dist/**', '@liveupdate/*/*', '!@liveupdate/handler-testkit/processes'];
const byName = 'Import another package by its name: its one entry is src/index.ts.';
const noSidestep = { group: sidesteps, message: byName };
// What the tests of several packages share is for tests.
const shared = ['base', 'mm', 'luo-core', 'kexec', 'boot-image'].map((name) => `!@liveupdate/${name}/test-*`);
const noSidestepInTests = { group: [...sidesteps, ...shared], message: byName };
const noNode = {
  group: ['node:*', ...builtinModules.filter((name) => !name.startsWith('_')), 'koffi'],
  message:
    'Core packages run in a browser: what touches the operating system lives in linux, kexec, cli, bench.',
};

const restrict = (...patterns) => ({ 'no-restricted-imports': ['error', { patterns }] });

export default defineConfig(
  globalIgnores([
    '**/dist/',
    '**/coverage/',
    '**/reports/',
    '**/.turbo/',
    '**/.examples/',
    '**/.vitest/',
    '**/.readme-*',
    'types/',
    'examples/', // a workspace of its own: scripts/check/third-party.ts checks it where it is installed
  ]),
  js.configs.recommended,
  ts.configs.strictTypeChecked,
  {
    plugins: { '@stylistic': stylistic },
    languageOptions: {
      parserOptions: {
        projectService: true,
        tsconfigRootDir: import.meta.dirname,
        // One program per package would parse the same files again for each: the service shares
        // them, in half the time.
        disallowAutomaticSingleRunInference: true,
      },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      // Comments are prose. (How wide code is, Prettier knows; a directive has to be one line.)
      '@stylistic/max-len': [
        'error',
        { code: 1000, comments: 100, ignoreUrls: true, ignorePattern: 'eslint-disable|@ts-' },
      ],
      'no-console': 'off',
      'prefer-const': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Hot loops index typed arrays; an index in range is our own invariant, checked by assertions
      // and tests.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  ...Object.entries(arrows).flatMap(([dir, allowed]) => {
    const pure = core.includes(dir);
    const inTests = [...allowed, ...(testArrows[dir] ?? [])];
    return [
      {
        files: [`${dir}/src/**/*.ts`],
        ignores: tests,
        rules: restrict(noUpward(allowed), noSidestep, ...(pure ? [noNode] : [])),
      },
      {
        files: tests.map((t) => `${dir}/src/${t}`),
        rules: restrict(noUpward(inTests), noSidestepInTests),
      },
    ];
  }),
  {
    // The one entry of a core package that starts processes.
    files: ['packages/handler-testkit/src/processes.ts'],
    rules: restrict(noUpward([...arrows['packages/handler-testkit'], 'kexec']), noSidestep),
  },
  { files: ['**/*.{js,cjs,mjs}'], extends: [ts.configs.disableTypeChecked] },
  {
    files: ['**/*.cjs'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: {
        require: 'readonly',
        module: 'writable',
        process: 'readonly',
        console: 'readonly',
        __dirname: 'readonly',
      },
    },
    rules: { '@typescript-eslint/no-require-imports': 'off' },
  },
);
