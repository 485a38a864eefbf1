/**
 * Redis' own tests, from the source package of Debian: fetched when they are run, once for a
 * checkout. Nothing of them is kept here.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../../node_modules/.cache/redis-source', import.meta.url));
/** Debian's release whose Redis it is: 7.0, whose commands these are. */
const RELEASE = 'bookworm';
/** Of the source: what the tests are run by. */
const PARTS = ['tests', 'runtest'];
/** A part of the harness asks for what only tests of functions need. */
const HARNESS = 'tests/support/server.tcl';
const NOT_ASKED = /^\s*r function flush\n/m;

/** The folder of the tests; or why there is none. */
export function redisTests(): { readonly folder: string } | { readonly why: string } {
  const tree = join(CACHE, 'tree');
  if (fs.existsSync(join(tree, 'runtest'))) return { folder: tree };
  const mirror = debianMirror();
  if (mirror === undefined)
    return { why: "Redis' own tests are fetched from Debian: this machine has no mirror of it" };
  try {
    fetch(mirror, tree);
    return { folder: tree };
  } catch (error) {
    return { why: `Redis' own tests cannot be fetched: ${String(error).split('\n')[0]}` };
  }
}

function fetch(mirror: string, tree: string): void {
  fs.rmSync(CACHE, { recursive: true, force: true });
  for (const folder of ['lists/partial', 'archives/partial'])
    fs.mkdirSync(join(CACHE, folder), { recursive: true });
  const list = join(CACHE, 'sources.list');
  fs.writeFileSync(list, `deb-src ${mirror} ${RELEASE} main\n`);
  // An apt of its own: that of this machine keeps its lists.
  const options = {
    'Dir::Etc::sourcelist': list,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State::lists': join(CACHE, 'lists'),
    'Dir::Cache': CACHE,
    'APT::Sandbox::User': 'root',
  };
  const flags = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  for (const args of [['update'], ['source', '--download-only', 'redis']])
    execFileSync('apt-get', [...flags, '-qq', ...args], { cwd: CACHE, stdio: 'pipe' });
  const archive = fs.readdirSync(CACHE).find((name) => /^redis_.*\.orig\.tar\.\w+$/.test(name)) ?? '';
  const unpacked = join(CACHE, 'unpacked');
  fs.mkdirSync(unpacked);
  execFileSync('tar', ['-xf', join(CACHE, archive), '-C', unpacked, '--strip-components=1'], {
    stdio: 'pipe',
  });
  const harness = join(unpacked, HARNESS);
  fs.writeFileSync(harness, fs.readFileSync(harness, 'utf8').replace(NOT_ASKED, ''));
  for (const name of fs.readdirSync(unpacked))
    if (!PARTS.includes(name)) fs.rmSync(join(unpacked, name), { recursive: true });
  fs.renameSync(unpacked, tree);
}

/** Where this machine gets its packages from. */
function debianMirror(): string | undefined {
  const folder = '/etc/apt/sources.list.d';
  const files = fs.existsSync(folder) ? fs.readdirSync(folder).map((name) => join(folder, name)) : [];
  for (const file of ['/etc/apt/sources.list', ...files]) {
    if (!fs.existsSync(file)) continue;
    const found = /^(?:deb\s+(?:\[.*\]\s+)?|URIs:\s*)(\S+\/debian)\/?(?:\s|$)/m.exec(
      fs.readFileSync(file, 'utf8'),
    );
    if (found) return found[1];
  }
  return undefined;
}
