/**
 * Runs before a package is packed or published, in its folder: one that is not built would be
 * empty, and npm would publish ranges of the workspace as they stand.
 */
'use strict';

const { existsSync, readFileSync } = require('node:fs');

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

const why = refusal();
if (why !== undefined) {
  console.error(`liveupdate: ${why}`);
  process.exitCode = 1;
}
