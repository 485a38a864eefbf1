/** The command `liveupdate` in one file, for guests: where koffi is found. */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const MAIN = fileURLToPath(new URL('../../../packages/cli/src/main.ts', import.meta.url));

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
    logLevel: 'error',
  });
  return outfile;
}
