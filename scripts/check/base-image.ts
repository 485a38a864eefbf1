/**
 * An image that stands for `node:24-slim` where no registry can be reached: our Node.js, npm, a
 * shell and a few programs of this machine with their libraries, the user `node`, and the same
 * entry point and PATH.
 */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import type { Docker } from './docker.ts';
import type { Ended } from './command.ts';
import { obtain } from './programs.ts';

export const BASE = 'node:24-slim';
const NPM = '11.21.2';
/** What the pages call in a container, and npm. */
const PROGRAMS = ['sh', 'env', 'cp', 'sleep', 'tar'];
const USER = 1000;

const ENTRY = '#!/bin/sh\nexec "$@"\n';
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Makes it. Its output says what failed. */
export async function makeBase(docker: Docker): Promise<Ended> {
  const root = join(docker.folder, 'base');
  for (const folder of [
    'bin',
    'etc',
    'home/node',
    'root',
    'tmp',
    'usr/bin',
    'usr/local/bin',
    'usr/local/lib',
  ])
    mkdirSync(join(root, folder), { recursive: true });
  chmodSync(join(root, 'tmp'), 0o1777);
  chownSync(join(root, 'home/node'), USER, USER);
  writeFileSync(
    join(root, 'etc/passwd'),
    `root:x:0:0::/root:/bin/sh\nnode:x:${USER}:${USER}::/home/node:/bin/sh\n`,
  );
  writeFileSync(join(root, 'etc/group'), `root:x:0:\nnode:x:${USER}:\n`);
  writeFileSync(join(root, 'usr/local/bin/docker-entrypoint.sh'), ENTRY, { mode: 0o755 });
  const npm = await obtain('npm', NPM, 'bin/npm-cli.js');
  if ('why' in npm) return { ok: false, output: npm.why, stdout: '' };
  cpSync(dirname(dirname(npm.file)), join(root, 'usr/local/lib/npm'), { recursive: true });
  for (const name of ['npm', 'npx'])
    symlinkSync(`../lib/npm/bin/${name}-cli.js`, join(root, 'usr/local/bin', name));
  const node = realpathSync(process.execPath);
  copyFileSync(node, join(root, 'usr/local/bin/node'));
  const programs = PROGRAMS.map(found);
  for (const [i, name] of PROGRAMS.entries())
    for (const folder of ['bin', 'usr/bin']) copyFileSync(programs[i], join(root, folder, name));
  for (const library of librariesOf([node, ...programs])) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(library, join(root, library));
  }
  const changes = ['ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["node"]', `ENV ${PATH}`];
  const words = changes.map((change) => `--change '${change}'`).join(' ');
  return docker.shell(`tar -c . | docker import ${words} - ${BASE}`, root);
}

function found(program: string): string {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter))
    if (existsSync(join(folder, program))) return realpathSync(join(folder, program));
  throw new Error(`there is no program '${program}' here`);
}

/** The shared libraries of programs, and what loads them. */
function librariesOf(programs: readonly string[]): string[] {
  const { stdout } = spawnSync('ldd', [...programs], { encoding: 'utf8' });
  return [...new Set([...stdout.matchAll(/(\/\S+\.so\S*) \(0x/g)].map(([, path]) => path))];
}
