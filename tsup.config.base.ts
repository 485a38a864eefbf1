import { readFileSync } from 'node:fs';
import { defineConfig, type Options } from 'tsup';
import { prepareSources } from './scripts/build/prepare-sources.ts';

const shared: Options = { format: 'esm', target: 'node22', sourcemap: true, clean: ['!**/*.d.ts'] };

/** The oldest engines that the core packages name in their READMEs. */
const BASELINE = ['node20', 'chrome111', 'firefox119', 'safari16.4'];

/**
 * A package that is imported, with declarations: by its name alone, or by more entries than
 * `index`.
 */
export const library = (names: readonly string[] = ['index']) =>
  defineConfig({
    ...shared,
    target: BASELINE,
    platform: 'neutral',
    entry: names.map((name) => `src/${name}.ts`),
    dts: true,
    esbuildPlugins: [prepareSources()],
    define: { __VERSION__: JSON.stringify(versionHere()) },
  });

/** Of the package that is built: tsup runs in its folder. */
function versionHere(): string {
  return (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;
}

/**
 * A package that is run: the workspace's other packages stay imports. More names than `main` are
 * programs that it runs.
 */
export const program = (names: readonly string[] = ['main']): Options => ({
  ...shared,
  platform: 'node',
  entry: names.map((name) => `src/${name}.ts`),
});

/**
 * Programs in one file of CommonJS each, with the workspace's packages in them, as a service that
 * wants to be back soon is deployed.
 */
export const wholePrograms = (names: readonly string[]): Options => ({
  ...shared,
  format: 'cjs',
  platform: 'node',
  clean: false,
  entry: names.map((name) => `src/${name}.ts`),
  noExternal: [/^@liveupdate\//],
  splitting: false,
  minify: true,
  esbuildOptions: (options) => {
    options.conditions = ['@liveupdate/source'];
  },
});
