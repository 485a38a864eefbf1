/** The command `liveupdate` in one file, for guests: where koffi is found. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const MAIN = fileURLToPath(new URL('../../../packages/cli/src/main.ts', import.meta.url));

const { resolve } = createRequire(MAIN);

/** Makes it. Returns its path, which the caller removes. */
export async function bundleCommand(): Promise<string> {
  const outfile = fileURLToPath(new URL(`../.vitest/liveupdate-${process.pid}.mjs`, import.meta.url));
  await build({
    entryPoints: [MAIN],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    conditions: ['@liveupdate/source'],
    plugins: [
      {
        name: 'native code of the command stays where it is',
        setup: (building) => {
          building.onResolve({ filter: /^@napi-rs\// }, ({ path }) => ({
            path: resolve(path),
            external: true,
          }));
        },
      },
    ],
    logLevel: 'error',
  });
  return outfile;
}
