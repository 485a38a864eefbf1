/** The transcript in the README, played: a real server, and what a shell says to each command. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, TestServer } from './test-server.ts';

const CLI = fileURLToPath(new URL('../../../packages/cli/src/main.ts', import.meta.url));
const TRANSCRIPT = /(<!-- transcript: begin -->\n\n```console\n)(.*?)(```)/s;

/** A README with the transcript of now: its commands, and what they say. */
export async function withTranscript(path: string): Promise<string> {
  const readme = readFileSync(path, 'utf8');
  const [, , before = ''] = TRANSCRIPT.exec(readme) ?? [];
  const said = await play([...before.matchAll(/^\$ (.*)$/gm)].map(([, command]) => command));
  return readme.replace(TRANSCRIPT, (_, begin: string, __, end: string) => `${begin}${said}${end}`);
}

async function play(commands: readonly string[]): Promise<string> {
  await using server = await TestServer.start();
  const folder = mkdtempSync(join(tmpdir(), 'liveupdate-transcript-'));
  const node = `'${process.execPath}' --conditions=@liveupdate/source --no-warnings`;
  const script = [
    `cd '${folder}'`,
    `redis-cli() { command redis-cli -p ${server.port} --no-raw "$@"; }`,
    `redis-benchmark() { command redis-benchmark -p ${server.port} "$@"; }`,
    `npx() { shift; ${node} '${CLI}' "$1" ${server.name}; }`,
    ...commands.map((command) => `echo '$ '${quoted(command)}; ${command}`),
  ].join('\n');
  try {
    const { text } = await run('bash', ['-c', script]);
    return text.replaceAll('\r', '').replaceAll(server.name, 'cache');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
