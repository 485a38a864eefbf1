import { defineConfig } from 'vitest/config';

// The workspace's packages are tested as TypeScript sources, without a build.
const conditions = ['@liveupdate/source', 'module', 'node', 'development|production'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['{packages,apps}/*/src/**/*.{test,fuzz}.ts', 'scripts/**/*.test.ts'],
    benchmark: { include: ['{packages,apps}/*/src/**/*.bench.ts'] },
    pool: 'forks',
    execArgv: ['--conditions=@liveupdate/source'],
  },
});
