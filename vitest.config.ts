import { defineConfig } from 'vitest/config';
import { makeMutant, MUTANT } from './scripts/stores/mutants.ts';
import { recordStores } from './scripts/stores/plugin.ts';

// The workspace's packages are tested as TypeScript sources, without a build.
const conditions = ['@liveupdate/source', 'module', 'node', 'development|production'];

export default defineConfig({
  plugins: [makeMutant()],
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'sources',
          include: ['{packages,apps}/*/src/**/*.{test,fuzz}.ts', 'scripts/**/*.test.ts'],
          benchmark: { include: ['{packages,apps}/*/src/**/*.bench.ts'] },
        },
      },
      // Here stores to typed arrays are seen, and all code is slow.
      {
        extends: true,
        plugins: [recordStores()],
        test: { name: 'stores', include: ['packages/*/src/**/*.stores.ts'] },
      },
      // Real kernels, in QEMU: one guest at a time.
      {
        extends: true,
        test: {
          name: 'linux',
          include: ['apps/interop/src/**/*.linux.ts'],
          setupFiles: ['apps/interop/src/test-skips.ts'],
          fileParallelism: false,
        },
      },
    ],
    // A mutant is in no file, so a cache would not know it from what it was made of.
    fsModuleCache: process.env[MUTANT] === undefined,
    pool: 'forks',
    // Its default leaves a core to itself: of two cores that is half.
    maxWorkers: 2,
    // Ends what hangs, and nothing else: the longest test takes 20 s on a quick machine with
    // nothing else to do.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    execArgv: ['--conditions=@liveupdate/source'],
  },
});
