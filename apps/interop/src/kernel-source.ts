/**
 * Linux's own live-update tests, from the source package of Debian: fetched when they are run,
 * nothing of them is kept here.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../../node_modules/.cache/linux-source', import.meta.url));
/** Of the source tree: what the tests are made of. */
const PARTS = [
  'tools/testing/selftests/liveupdate',
  'tools/testing/selftests/kselftest.h',
  'tools/testing/selftests/kselftest_harness.h',
  'include/uapi/linux/liveupdate.h',
];

/** The programs that go through a kexec, as Linux has them. */
export const SELFTESTS = ['luo_kexec_simple', 'luo_multi_session', 'luo_stress_files', 'luo_stress_sessions'];
/** The one that stays in one kernel. */
export const DEVICE_SELFTEST = 'liveupdate';

/** The built tests: a folder. Or why there is none. */
export function builtSelftests(): { readonly folder: string } | { readonly why: string } {
  if (spawnSync('gcc', ['--version']).status !== 0)
    return {
      why: "Linux's own tests are in C: gcc is not installed; on Debian: apt-get install gcc libc6-dev",
    };
  const given = process.env.LIVEUPDATE_KERNEL_SOURCE;
  const source = given === undefined ? fetched() : { folder: given };
  if ('why' in source) return source;
  try {
    return { folder: compiled(source.folder) };
  } catch (error) {
    return { why: `Linux's own tests cannot be built from ${source.folder}: ${String(error)}` };
  }
}

function compiled(source: string): string {
  const out = join(CACHE, 'built');
  const headers = join(CACHE, 'include', 'linux');
  fs.mkdirSync(out, { recursive: true });
  fs.mkdirSync(headers, { recursive: true });
  fs.copyFileSync(join(source, 'include/uapi/linux/liveupdate.h'), join(headers, 'liveupdate.h'));
  const folder = join(source, 'tools/testing/selftests/liveupdate');
  for (const name of [...SELFTESTS, DEVICE_SELFTEST])
    execFileSync(
      'gcc',
      [
        ...[
          '-O2',
          '-D_GNU_SOURCE=',
          '-I',
          join(CACHE, 'include'),
          '-I',
          join(source, 'tools/testing/selftests'),
        ],
        ...['-o', join(out, name), join(folder, `${name}.c`), join(folder, 'luo_test_utils.c')],
      ],
      { stdio: 'pipe' },
    );
  return out;
}

/** The part of the source tree that the newest source package has: once for a checkout. */
function fetched(): { readonly folder: string } | { readonly why: string } {
  const tree = join(CACHE, 'tree');
  if (fs.existsSync(join(tree, PARTS[0]))) return { folder: tree };
  const mirror = debianMirror();
  if (mirror === undefined) return { why: `no source of Linux: ${ADVICE}` };
  fs.rmSync(CACHE, { recursive: true, force: true });
  fs.mkdirSync(join(CACHE, 'lists/partial'), { recursive: true });
  fs.mkdirSync(join(CACHE, 'archives/partial'), { recursive: true });
  const list = join(CACHE, 'sources.list');
  fs.writeFileSync(list, `deb ${mirror} unstable main\n`);
  // An apt of its own: that of this machine keeps its lists.
  const options = {
    'Dir::Etc::sourcelist': list,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State::lists': join(CACHE, 'lists'),
    'Dir::Cache': CACHE,
    'APT::Sandbox::User': 'root',
  };
  const apt = (program: string, ...args: string[]): string =>
    execFileSync(
      program,
      [...Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]), ...args],
      {
        cwd: CACHE,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
  try {
    apt('apt-get', '-qq', 'update');
    const names = apt('apt-cache', 'pkgnames', 'linux-source-').split('\n');
    const version = (name: string): number =>
      Number(
        /^linux-source-(\d+)\.(\d+)$/
          .exec(name)
          ?.slice(1)
          .map((part) => part.padStart(4, '0'))
          .join('') ?? 0,
      );
    const newest = names.sort((a, b) => version(b) - version(a))[0];
    apt('apt-get', '-qq', 'download', newest);
    const deb = fs.readdirSync(CACHE).find((name) => name.endsWith('.deb')) ?? '';
    execFileSync('dpkg-deb', ['-x', deb, 'package'], { cwd: CACHE });
    fs.mkdirSync(tree);
    const archive = join(CACHE, 'package/usr/src', `${newest}.tar.xz`);
    execFileSync('tar', [
      '-xf',
      archive,
      '-C',
      tree,
      '--strip-components=1',
      ...PARTS.map((part) => `${newest}/${part}`),
    ]);
    fs.rmSync(join(CACHE, 'package'), { recursive: true });
    fs.rmSync(join(CACHE, deb));
    return { folder: tree };
  } catch (error) {
    return { why: `no source of Linux (${String(error).split('\n')[0]}): ${ADVICE}` };
  }
}

const ADVICE = 'unpack one, such as linux-source of Debian, and give its folder in LIVEUPDATE_KERNEL_SOURCE';

/** Where this machine gets its packages from. */
export function debianMirror(): string | undefined {
  const files = ['/etc/apt/sources.list'];
  const folder = '/etc/apt/sources.list.d';
  if (fs.existsSync(folder)) files.push(...fs.readdirSync(folder).map((name) => join(folder, name)));
  for (const file of files) {
    if (!fs.existsSync(file)) continue;
    const found = /^(?:deb\s+(?:\[.*\]\s+)?|URIs:\s*)(\S+\/debian)\/?(?:\s|$)/m.exec(
      fs.readFileSync(file, 'utf8'),
    );
    if (found) return found[1];
  }
  return undefined;
}
