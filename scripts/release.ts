/**
 * `npm run release`: versions, build, checks and publishing, in this order. Nothing is published
 * unless all before it went well. `npm run release -- --help` tells the rest.
 */

import { parseArgs } from 'node:util';
import { Fault, printed } from './release/fault.ts';
import { rehearse } from './release/rehearsal.ts';
import { release } from './release/release.ts';
import type { Checks } from './release/steps.ts';

const HELP = `npm run release                    versions, build, checks, publish, tags
npm run release -- --dry-run       the same in a copy, published to a registry on this machine
npm run release -- --help          this

  --checks all|quick|none          what npm test runs before anything is published (all)
  --tag NAME                       the tag of the registry that these versions get (latest)
  --no-provenance                  publish without a statement of where it was built

A dry run changes nothing here: it copies what Git has, and what it would add, and releases that to
a registry that it starts on this machine. It is interrupted once and goes on; then kexec and the
command are installed from there in an empty folder. Provenance is left out: nobody could sign it.

A release asks for a clean checkout of Git with changesets that wait. It goes to the registry of
npm's own configuration ('npm config get @liveupdate:registry', or 'registry'), and signs in as npm
does. Provenance is a statement that a builder signs: the release has to run in GitHub Actions with
'id-token: write', or in GitLab with an id token. One that was interrupted goes on when it is called
again: versions that the registry has are left as they are. In the end it says what to push.`;

/** The command line; a sentence where it is wrong. */
function commandLine() {
  try {
    return parseArgs({
      options: {
        'dry-run': { type: 'boolean', default: false },
        checks: { type: 'string', default: 'all' },
        tag: { type: 'string', default: 'latest' },
        provenance: { type: 'boolean', default: true },
        help: { type: 'boolean', default: false },
      },
      allowNegative: true,
    }).values;
  } catch (error) {
    const why = error instanceof Error ? error.message.replace(/\..*$/s, '') : String(error);
    throw new Fault(`${why} (npm run release -- --help)`, 2);
  }
}

try {
  const values = commandLine();
  if (!['all', 'quick', 'none'].includes(values.checks))
    throw new Fault(`there is no --checks ${values.checks}: all, quick and none are there`, 2);
  const { tag, provenance } = values;
  const checks = values.checks as Checks;
  if (values.help) console.log(HELP);
  else if (values['dry-run']) await rehearse({ checks, tag });
  else await release({ checks, tag, provenance });
} catch (error) {
  process.exitCode = printed(error);
}
