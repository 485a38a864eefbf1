/** A folder with the systemd of Debian's unstable, and what that needs: a root for a guest. */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { debianMirror } from './kernel-source.ts';

const CACHE = fileURLToPath(new URL('../../../node_modules/.cache', import.meta.url));

/**
 * That root: made once for a checkout. Or why there is none.
 *
 * @param least the first version of systemd that will do
 * @param since what that one does
 */
export function systemdRoot(
  least: number,
  since: string,
): { readonly root: string } | { readonly why: string } {
  const root = join(CACHE, 'systemd-root');
  if (!fs.existsSync(join(root, 'etc'))) {
    if (process.getuid?.() !== 0) return { why: 'only root can make a root of Debian (mmdebstrap)' };
    const mirror = debianMirror();
    if (mirror === undefined) return { why: 'this machine has no mirror of Debian in its sources of apt' };
    fs.mkdirSync(CACHE, { recursive: true });
    const made = spawnSync(
      'mmdebstrap',
      [
        ...['--mode=root', '--variant=minbase', '--include=systemd,systemd-sysv'],
        ...['--aptopt=Acquire::Check-Valid-Until "false"', 'unstable', root, mirror],
      ],
      { encoding: 'utf8' },
    );
    if (made.error) return { why: 'mmdebstrap is not installed; on Debian: apt-get install mmdebstrap' };
    if (made.status !== 0) {
      fs.rmSync(root, { recursive: true, force: true });
      return { why: `mmdebstrap: ${made.stderr.trim().split('\n').at(-1) ?? ''}` };
    }
  }
  const said = execFileSync('chroot', [root, '/lib/systemd/systemd', '--version'], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
  const version = Number(/^systemd (\d+)/.exec(said)?.[1]);
  return version >= least
    ? { root }
    : { why: `its systemd is ${version}: the first that ${since} is ${least}` };
}
