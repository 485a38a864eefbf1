/**
 * Inspects the kernel that it runs in by /proc/kcore: with sessions preserved, and again as the
 * kernel that was handed them and that nobody has asked for them yet.
 */
import { spawnSync } from 'node:child_process';
import { openDevice } from '@liveupdate/device';
import { Memfd } from '@liveupdate/linux';
import { lookAt } from './kept.ts';
import { replaceKernel } from './replace-kernel.ts';
import { report } from './report.ts';

const { GUEST_NODE = '', GUEST_CLI = '', GUEST_STAGE } = process.env;
const NOBODY = 65_534;

function inspect(uid?: number): void {
  const words = ['--no-warnings', GUEST_CLI, 'inspect', '--json', '/proc/kcore'];
  const ran = spawnSync(GUEST_NODE, words, { encoding: 'utf8', ...(uid !== undefined && { uid }) });
  report('ran', { status: ran.status, stdout: ran.stdout, stderr: ran.stderr });
}

if (GUEST_STAGE === undefined) {
  const device = openDevice();
  const session = device.createSession('first');
  const contents = ['one', 'two'.repeat(5000), 'three'.repeat(100_000)];
  const files = contents.map((content, i) => {
    const file = Memfd.create('test', 0);
    file.write([Buffer.from(content)], 0);
    session.preserveFd(file.fd, BigInt(i + 1));
    return lookAt(file.fd, `${i + 1}`);
  });
  report('kept', { files });
  inspect();
  inspect(NOBODY);
  replaceKernel({ GUEST_STAGE: 2 });
}
inspect();
report('done');
