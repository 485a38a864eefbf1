/**
 * What an application ships that imports one constant of a core package: that constant, and not the
 * package. Bundled with esbuild and with Rollup, as applications are.
 */

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, transform } from 'esbuild';
import { rollup } from 'rollup';
import { root } from './command.ts';
import { single, sum, type Report } from './report.ts';
import { isCore, workspace, type Package } from './workspace.ts';

/** Bytes, minified, at most: of a number or a text, and of a layout, which brings its checks. */
const LIMITS = { value: 256, object: 1280 };

type Kind = keyof typeof LIMITS;

interface Constant {
  name: string;
  kind: Kind;
}

const built = (name: string) => join(root, name.replace('@liveupdate/', 'packages/'), 'dist/index.js');

const using = (each: Package, name: string) => `export { ${name} } from '${each.name}';`;

export async function oneConstant(): Promise<Report> {
  return sum(await Promise.all(workspace().filter(isCore).map(measurePackage)));
}

async function measurePackage(each: Package): Promise<Report> {
  const constants = await constantsOf(each);
  const largest: Record<Kind, { name: string; bytes: number }> = {
    value: { name: '', bytes: 0 },
    object: { name: '', bytes: 0 },
  };
  const wrong: string[] = [];
  for (const { name, kind } of constants) {
    const bytes = { esbuild: await withEsbuild(each, name), rollup: await withRollup(each, name) };
    for (const [bundler, length] of Object.entries(bytes)) {
      if (length > LIMITS[kind]) wrong.push(`${name}: ${length} bytes (${bundler}), at most ${LIMITS[kind]}`);
      if (length > largest[kind].bytes) largest[kind] = { name, bytes: length };
    }
  }
  const told = Object.values(largest).filter(({ bytes }) => bytes > 0);
  const notes = told.map(({ name, bytes }) => `${each.name}: at most ${bytes} bytes (${name})`);
  return {
    ...single(`${each.name}: one constant`, { ok: wrong.length === 0, output: wrong.join('\n') }),
    notes,
  };
}

/** All that a package exports, but functions and classes. */
async function constantsOf(each: Package): Promise<Constant[]> {
  const exported = (await import(pathToFileURL(built(each.name)).href)) as Record<string, unknown>;
  return Object.entries(exported)
    .filter(([, value]) => typeof value !== 'function')
    .map(([name, value]) => ({ name, kind: typeof value === 'object' ? 'object' : 'value' }));
}

async function withEsbuild(each: Package, name: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: using(each, name), resolveDir: join(root, each.dir) },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2024',
  });
  return outputFiles[0].contents.length;
}

async function withRollup(each: Package, name: string): Promise<number> {
  const ENTRY = 'entry';
  const bundle = await rollup({
    input: ENTRY,
    plugins: {
      name: 'workspace',
      resolveId: (id) =>
        id === ENTRY
          ? id
          : id.startsWith('@liveupdate/')
            ? { id: built(id), moduleSideEffects: false }
            : null,
      load: (id) => (id === ENTRY ? using(each, name) : null),
    },
  });
  const { output } = await bundle.generate({ format: 'es' });
  const { code } = await transform(output[0].code, { minify: true, format: 'esm' });
  return Buffer.byteLength(code);
}
