/**
 * Runs before a package is packed or published, in its folder: one that is not built would be
 * empty, one that was built before would have chunks of that build too, and npm would publish
 * ranges of the workspace as they stand.
 */
'use strict';

const { existsSync, readdirSync, readFileSync, rmSync } = require('node:fs');
const { join } = require('node:path');

/** All paths of built files that a field of the manifest names, at any depth. */
function builtFiles(value) {
  if (typeof value === 'string') return value.startsWith('./dist/') ? [value] : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(builtFiles);
}

function refusal() {
  const { name, exports, bin } = JSON.parse(readFileSync('package.json', 'utf8'));
  const missing = builtFiles({ exports, bin }).filter((path) => !existsSync(path));
  if (missing.length > 0)
    return `${name} is not built: ${missing[0]} is missing. Run 'npm run build' at the root first.`;
  const isPublished = process.argv[2] === 'publish';
  if (isPublished && !(process.env.npm_config_user_agent ?? '').startsWith('pnpm/'))
    return `${name} is published by pnpm, which turns ranges of the workspace into versions: see CONTRIBUTING.md.`;
  return undefined;
}

/** The name of a chunk, with the hash of what is in it, by the files that a build makes of it. */
const CHUNK = /^(.+-(?=\w*[A-Z0-9])\w{8})\.(?:js|js\.map|d\.ts)$/;

/** Chunks that nothing of this build names. Their names change with what is in them. */
function leftOvers() {
  const files = readdirSync('dist');
  const chunkOf = (file) => (CHUNK.exec(file) || [])[1];
  const left = new Set(files.map(chunkOf).filter(Boolean));
  const read = files.filter((file) => !chunkOf(file) && !file.endsWith('.map'));
  for (const file of read) {
    const text = readFileSync(join('dist', file), 'utf8');
    for (const chunk of left) {
      if (!text.includes(chunk)) continue;
      left.delete(chunk);
      read.push(...files.filter((each) => chunkOf(each) === chunk && !each.endsWith('.map')));
    }
  }
  return files.filter((file) => left.has(chunkOf(file)));
}

const why = refusal();
if (why === undefined) {
  for (const file of leftOvers()) rmSync(join('dist', file));
} else {
  console.error(`liveupdate: ${why}`);
  process.exitCode = 1;
}
