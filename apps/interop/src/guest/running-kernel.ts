/**
 * Inspects the kernel that it runs in by /proc/kcore: with sessions preserved; in the next kernel
 * before anything of them is taken, with some of it taken, and with all of it given up.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { openDevice } from '@liveupdate/device';
import { loadKexecKernel, Memfd, rebootByKexec } from '@liveupdate/linux';
import { lookAt } from './kept.ts';
import { report, SHARE } from './report.ts';

const { GUEST_NODE = '', GUEST_CLI = '', GUEST_KERNEL = '', GUEST_STAGE } = process.env;
const NOBODY = 65_534;
const KCORE = '/proc/kcore';

function run(args: readonly string[], uid?: number): void {
  const ran = spawnSync(GUEST_NODE, ['--no-warnings', GUEST_CLI, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    ...(uid !== undefined && { uid }),
  });
  report('ran', { status: ran.status, stdout: ran.stdout, stderr: ran.stderr });
}

const inspect = (): void => {
  run(['inspect', '--json', KCORE]);
};

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
  device[Symbol.dispose]();
  report('kept', { files });
  inspect();
  run(['inspect', KCORE], NOBODY);
  const commandLine = `${fs.readFileSync(`${SHARE}/command-line`, 'utf8')} GUEST_STAGE=2`;
  loadKexecKernel({ kernel: fs.openSync(GUEST_KERNEL, 'r'), commandLine, debug: true });
  rebootByKexec(); // does not return
} else {
  inspect();
  run(['export', KCORE, 'first/3', '/run/tmp/out']);
  report('exported', { file: lookAt(fs.openSync('/run/tmp/out', 'r+'), '3').sha256 });
  const device = openDevice();
  const session = device.retrieveSession('first');
  session.retrieveFd(1n);
  inspect();
  report('done');
}
