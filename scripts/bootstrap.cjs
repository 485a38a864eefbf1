/**
 * Makes a fresh checkout ready: installs what pnpm-lock.yaml names, Node.js included, when
 * node_modules is not in step with it. This runs on whatever Node.js the machine has, so the syntax
 * stays old: a Node.js that is too old must get as far as saying so.
 */
'use strict';

const OLDEST_NODE = 20;

const major = Number(process.versions.node.split('.')[0]);
if (major < OLDEST_NODE) {
  console.error(
    'liveupdate: this is Node.js ' +
      process.versions.node +
      '; a checkout needs ' +
      OLDEST_NODE +
      ' or newer to set itself up.',
  );
  process.exit(1);
}
if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
  console.error(
    'liveupdate: a checkout runs on Linux on x64 or arm64, not on ' +
      process.platform +
      ' on ' +
      process.arch +
      '.',
  );
  process.exit(1);
}

const { spawnSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const { join } = require('node:path');

const root = join(__dirname, '..');
const stamp = join(root, 'node_modules', '.liveupdate-installed');

/** The Node.js that the checkout runs on, whatever the machine's own. */
const node = join(root, 'node_modules', '.bin', 'node');

/** Folders of the workspace's packages, relative to the root. */
const packages = ['packages', 'apps'].flatMap((group) =>
  fs
    .readdirSync(join(root, group))
    .map((name) => `${group}/${name}`)
    .filter((dir) => fs.existsSync(join(root, dir, 'package.json'))),
);

/** Installs if needed; one line on stderr if it does, the whole output if that fails. */
function bootstrap() {
  const wanted = fingerprint();
  if (fs.existsSync(node) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted) return;

  console.error('liveupdate: installing Node.js 24 and the packages of pnpm-lock.yaml into node_modules');
  const install = spawnSync(process.execPath, [join(__dirname, 'pnpm.cjs'), 'install', '--frozen-lockfile'], {
    encoding: 'utf8',
    env: { ...process.env, CI: 'true' }, // no questions
    maxBuffer: Infinity,
  });
  if (install.status !== 0) {
    process.stderr.write(install.stdout + install.stderr);
    console.error('liveupdate: the installation failed, its output is above.');
    process.exit(1);
  }
  const works = spawnSync(node, ['--version'], { encoding: 'utf8' });
  if (works.status !== 0) {
    console.error(
      `liveupdate: ${node} does not start on this machine (it needs glibc). ${works.stderr || ''}`,
    );
    process.exit(1);
  }
  fs.writeFileSync(stamp, wanted);
}

function fingerprint() {
  const files = [
    'pnpm-lock.yaml',
    'pnpm-workspace.yaml',
    'package.json',
    ...packages.map((dir) => `${dir}/package.json`),
  ];
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(fs.readFileSync(join(root, file)))
      .update('\0');
  return hash.digest('hex');
}

module.exports = { bootstrap, node, root };

if (require.main === module) bootstrap();
