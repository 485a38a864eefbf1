/** The packages as a user gets them: packed, linted as tarballs. */

import { command } from './command.ts';
import { single, sum, type Report } from './report.ts';
import { pack, tarball } from './tarballs.ts';
import { isLibrary, workspace } from './workspace.ts';

export async function publint(): Promise<Report> {
  const folder = await pack();
  const reports: Report[] = [];
  for (const each of workspace()) {
    reports.push(single(each.name, await command('publint', [tarball(folder, each), '--strict'])));
  }
  return sum(reports);
}

/** Are the types wrong? Programs have none. */
export async function attw(): Promise<Report> {
  const folder = await pack();
  const reports: Report[] = [];
  for (const each of workspace().filter(isLibrary)) {
    const args = [tarball(folder, each), '--profile', 'esm-only', '--no-emoji'];
    reports.push(single(each.name, await command('attw', args)));
  }
  return sum(reports);
}
