/**
 * A release: what is published is what Git has, checked, at versions that nobody has yet. It stops
 * at the first step that fails, and goes on there when it is called again.
 */

import { Fault } from './fault.ts';
import {
  build,
  check,
  makeVersions,
  publish,
  published,
  quietly,
  step,
  waiting,
  type Checks,
} from './steps.ts';

/** What builders set that can sign where a package was built. */
const SIGNERS = ['ACTIONS_ID_TOKEN_REQUEST_URL', 'SIGSTORE_ID_TOKEN'];

interface Options {
  checks: Checks;
  /** The tag of the registry. */
  tag: string;
  provenance: boolean;
}

/** @throws Fault: a sentence that says what to do; what was published stays so */
export async function release({ checks, tag, provenance }: Options): Promise<void> {
  if (provenance && !SIGNERS.some((name) => process.env[name] !== undefined)) {
    const where = "run it in GitHub Actions with 'id-token: write', or in GitLab with SIGSTORE_ID_TOKEN";
    throw new Fault(`nobody here can sign provenance: ${where}; or say --no-provenance`);
  }
  const changed = await quietly('git status', 'git', ['status', '--porcelain']);
  if (changed !== '') throw new Fault(`Git has changes here: commit or stash them first.\n${changed}`);
  const registry = await registryHere();
  if (waiting().length > 0) {
    await makeVersions();
    await step('commit', 'git', ['add', '--all', '.']);
    await quietly('git commit', 'git', ['commit', '--quiet', '--message', 'Versions of a release']);
  }
  const fresh = await missingIn(
    registry,
    published().map(({ name, version }) => `${name}@${version}`),
  );
  if (fresh.length === 0)
    throw new Fault(`nothing to release: no changeset waits, and ${registry} has all versions`);
  await build();
  await check(checks);
  console.log(`release: ${fresh.length} packages go to ${registry}`);
  await publish(['--tag', tag, ...(provenance ? ['--provenance'] : [])]);
  const left = await missingIn(registry, fresh);
  if (left.length > 0) throw new Fault(`${registry} does not show ${left.join(', ')}: call this again`);
  for (const id of published().map(({ name, version }) => `${name}@${version}`))
    await quietly('git tag', 'git', ['tag', '--force', '--annotate', '--message', id, id]);
  console.log(`release: published ${fresh.join(', ')}\nrelease: now git push --follow-tags`);
}

/** Where npm would publish these packages. */
async function registryHere(): Promise<string> {
  const configured = (name: string) => quietly('npm config', 'npm', ['config', 'get', name]);
  const own = await configured('@liveupdate:registry');
  return own !== '' && own !== 'undefined' ? own : configured('registry');
}

/** Those of these versions, as `name@version`, that the registry does not have. */
async function missingIn(registry: string, ids: string[]): Promise<string[]> {
  const missing: string[] = [];
  for (const id of ids) if (!(await has(registry, id))) missing.push(id);
  return missing;
}

async function has(registry: string, id: string): Promise<boolean> {
  // npm says nothing of a failure to a script that was started by 'npm run -s'.
  const spoken = ['--loglevel', 'error', '--json'];
  const args = ['view', id, 'version', '--prefer-online', '--registry', registry, ...spoken];
  try {
    return (await quietly(`looking for ${id}`, 'npm', args)) !== '';
  } catch (error) {
    if (error instanceof Fault && error.message.includes('E404')) return false;
    throw error;
  }
}
