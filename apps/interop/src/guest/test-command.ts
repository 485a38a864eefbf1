/**
 * Runs `liveupdate kernel` in two kernels, or in one without live updates, and reports how each run
 * ended.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { text } from 'node:stream/consumers';
import { report, SHARE } from './report.ts';

const { GUEST_NODE = '', GUEST_CLI = '', GUEST_KERNEL = '', GUEST_STAGE = '1', TMPDIR = '' } = process.env;
const NOBODY = 65_534;

process.chdir(TMPDIR);
const words = (args: readonly string[]): string[] => ['--no-warnings', GUEST_CLI, 'kernel', ...args];

function run(
  args: readonly string[],
  options: { readonly input?: string; readonly uid?: number } = {},
): void {
  const { status, stdout, stderr } = spawnSync(GUEST_NODE, words(args), {
    encoding: 'utf8',
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    ...options,
  });
  report('ran', { args, status, stdout, stderr });
}

async function runUntil(said: string, args: readonly string[]): Promise<void> {
  const child = spawn(GUEST_NODE, words(args), { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.on('data', (chunk: Buffer) => {
    if (chunk.toString().includes(said)) child.kill('SIGTERM');
  });
  const [stdout, stderr, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  report('ran', { args, status, stdout, stderr });
}

if (GUEST_STAGE === '0') {
  run(['list']);
} else if (GUEST_STAGE === '1') {
  fs.writeFileSync('state.bin', 'state'.repeat(100_000));
  fs.writeFileSync('empty.bin', '');
  run(['list', '--json']);
  run(['list'], { uid: NOBODY });
  run(['preserve', '--background', '--json', 'vm', '1=state.bin', '0xffffffffffffffff=empty.bin']);
  run(['preserve', '--background', 'vm', '1=state.bin']);
  run(['preserve', '--background', 'piped', '7=-'], { input: 'through a pipe' });
  run(['preserve', '--background', 'given up', '7=state.bin']);
  await runUntil('holds it', ['preserve', 'dropped', '1=state.bin']);
  const other = fs.openSync('/dev/liveupdate', 'r+');
  run(['preserve', 'busy', '1=state.bin']);
  fs.closeSync(other);
  run(['list', '--json']);
  run(['exec']);
  run(['load', 'state.bin']);
  const commandLine = `${fs.readFileSync(`${SHARE}/command-line`, 'utf8')} GUEST_STAGE=2`;
  run(['load', GUEST_KERNEL, '--command-line', commandLine]);
  run(['list']);
  run(['exec']); // does not return
} else {
  fs.writeFileSync('there.bin', 'there');
  run(['list', '--json']);
  run(['retrieve', 'none', '1=out.bin']);
  run(['retrieve', 'vm', '1=there.bin']);
  run(['retrieve', 'vm', '1=out.bin', '5=none.bin', '0xffffffffffffffff=empty.bin']);
  run(['retrieve', 'piped', '7=-']);
  run(['finish', 'given up']);
  run(['finish', 'given up']);
  run(['exec']);
  const files = fs.readdirSync('.').sort();
  report('done', { files, out: fs.readFileSync('out.bin', 'utf8') === 'state'.repeat(100_000) });
}
