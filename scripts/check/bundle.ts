/** One file with everything in it, as an application is shipped. */

import { build } from 'esbuild';

/**
 * The text of a module and all that it imports, minified. Native code stays outside.
 *
 * @throws where something cannot be bundled for the platform: in a browser, anything of Node.js
 */
export async function bundle(entry: string, platform: 'browser' | 'node'): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2024',
    platform,
    logLevel: 'silent',
  });
  return outputFiles[0].text;
}
