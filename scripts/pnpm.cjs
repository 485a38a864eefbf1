/**
 * Runs the pnpm of this repository: `node scripts/pnpm.cjs exec turbo run build`.
 * npx brings the version that package.json names, so a machine needs no pnpm of its own.
 */
const { spawnSync } = require('node:child_process');
const { join } = require('node:path');

const root = join(__dirname, '..');
const pnpm = require(join(root, 'package.json')).packageManager; // 'pnpm@x.y.z'

const { status, error } = spawnSync('npx', ['--yes', pnpm, ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1' },
});
if (error) console.error(`npx ${pnpm}: ${error.message}`);
process.exit(status === null ? 1 : status);
