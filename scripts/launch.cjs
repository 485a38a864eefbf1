/**
 * Runs a program of this checkout: `node scripts/launch.cjs packages/cli demo --size 1GiB`.
 * Installs and bundles first if anything changed since the last time, without a word on stdout:
 * that belongs to the program.
 */
'use strict';

const { bootstrap, node, root } = require('./bootstrap.cjs');
const { spawn, spawnSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const { join } = require('node:path');

const [dir, ...args] = process.argv.slice(2);
const main = join(root, dir, 'dist', 'main.js');

bootstrap();
bundle();
run();

/**
 * Bundles the program and what it imports, unless the sources look as they did before the last
 * bundling.
 */
function bundle() {
  const { name, dependencies } = require(join(root, dir, 'package.json'));
  const below = Object.keys(dependencies)
    .filter((other) => other.startsWith('@liveupdate/'))
    .map((other) => other.replace('@liveupdate/', 'packages/'));
  const stamp = join(root, 'node_modules', `.liveupdate-bundled-${dir.replace('/', '-')}`);
  const wanted = fingerprint([dir, ...below]);
  const outputs = [main, ...below.map((other) => join(root, other, 'dist', 'index.js'))];
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted && outputs.every(fs.existsSync))
    return;

  console.error(`liveupdate: building ${name}`);
  const turbo = ['exec', 'turbo', 'run', 'bundle', `--filter=${name}...`, '--output-logs=errors-only'];
  const built = spawnSync(node, [join(__dirname, 'pnpm.cjs'), ...turbo], {
    encoding: 'utf8',
    maxBuffer: Infinity,
  });
  if (built.status !== 0) {
    process.stderr.write(built.stdout + built.stderr);
    console.error('liveupdate: the build failed, its output is above.');
    process.exit(1);
  }
  fs.writeFileSync(stamp, wanted);
}

/**
 * Names, sizes and times of all that goes into these packages' bundles: it differs after any edit,
 * addition or removal.
 */
function fingerprint(dirs) {
  const hash = createHash('sha256');
  const shared = [
    'pnpm-lock.yaml',
    'tsup.config.base.ts',
    'scripts/build',
    'tsconfig.base.json',
    'turbo.json',
  ];
  for (const file of shared) add(join(root, file));
  for (const each of dirs) {
    for (const file of ['package.json', 'tsconfig.json', 'tsup.config.ts', 'src'])
      add(join(root, each, file));
  }
  return hash.digest('hex');

  function add(path) {
    const stat = fs.statSync(path);
    if (stat.isDirectory()) {
      for (const name of fs.readdirSync(path)) add(join(path, name));
    } else if (!/\.(test|fuzz|bench)\.ts$/.test(path)) {
      hash.update(`${path}\0${stat.size}\0${stat.mtimeMs}\0`);
    }
  }
}

/**
 * The program itself, in the folder where the caller stands; its end, by code or by signal, is
 * ours.
 */
function run() {
  const child = spawn(node, [main, ...args], {
    stdio: 'inherit',
    cwd: process.env.INIT_CWD || process.cwd(),
  });
  child.on('error', (error) => {
    console.error(`liveupdate: ${error.message}`);
    process.exit(1);
  });
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => child.kill(signal));
  // A terminal's Ctrl-C reaches the child by itself.
  process.on('SIGINT', () => {
    if (!process.stdin.isTTY) child.kill('SIGINT');
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
