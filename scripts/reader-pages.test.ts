/**
 * What the readers' pages show of a terminal, typed as it stands there: each command is run, and
 * prints what the page says, but for numbers of processes, milliseconds, and lines that are left
 * out there (`[...]`).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { root } from './check/command.ts';
import { extract } from './check/readme-examples.ts';

const FLAGS = ['--conditions=@liveupdate/source', '--no-warnings'];
const COMMAND = [process.execPath, ...FLAGS, join(root, 'packages/cli/src/main.ts')];
/** What the service is called on the pages, and where it is asked. */
const [NAME, PORT] = ['counter', '8080'];

const CURL =
  'fetch(`http://${process.argv[1]}`).then((answer) => answer.text()).then((text) => process.stdout.write(text))';

const name = `pages-${process.pid}`;
let folder: string;
let port: string;
let running: ChildProcess | undefined;
/** Numbers of processes on a page, and what they are here. */
let pids: Map<string, string>;

beforeEach(async () => {
  pids = new Map();
  port = await freePort();
  fs.mkdirSync(join(root, '.examples'), { recursive: true });
  folder = fs.mkdtempSync(join(root, '.examples/pages-')); // where packages are found by name
  const script = (file: string, words: string): void => {
    fs.mkdirSync(join(folder, 'bin'), { recursive: true });
    fs.writeFileSync(join(folder, 'bin', file), `#!/bin/sh\n${words} "$@"\n`, { mode: 0o755 });
  };
  script('liveupdate', `exec ${COMMAND.join(' ')}`);
  script('npx', 'exec');
  script('curl', `exec ${process.execPath} -e '${CURL}'`); // not every host has one
  script('node', `exec ${[process.execPath, ...FLAGS].join(' ')}`);
  fs.symlinkSync(join(root, 'fixtures'), join(folder, 'fixtures'));
});

afterEach(async () => {
  if (running?.exitCode === null) {
    running.kill('SIGTERM');
    await once(running, 'exit');
  }
  running = undefined;
  for (const ram of [name, `${name}-linux`]) fs.rmSync(`/dev/shm/liveupdate.${ram}`, { force: true });
  fs.rmSync(folder, { recursive: true });
});

async function freePort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: free } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return String(free);
}

interface Typed {
  readonly command: string;
  /** What the page says that it prints. */
  readonly prints: readonly string[];
}

/** A block of a page, found by the name in the mark above it. */
function transcript(page: string, mark: string): Typed[] {
  const found = new RegExp(`<!-- transcript: ${mark} -->\\s*\`\`\`console\\n([^]*?)\`\`\``).exec(
    fs.readFileSync(join(root, page), 'utf8'),
  );
  expect(found, `${page} has the transcript '${mark}'`).not.toBeNull();
  return found![1]
    .split(/^\$ /m)
    .slice(1)
    .map((typed) => typed.trimEnd().split('\n'))
    .map(([command, ...prints]) => ({ command, prints }));
}

/** A line of a page, as it is here: another name, another port, other processes. */
function here(line: string): string {
  return line
    .replaceAll(PORT, port)
    .replaceAll('from-linux', `${name}-linux`)
    .replaceAll(new RegExp(`\\b${NAME}\\b`, 'g'), name)
    .replace(/^kill -9 (\d+)/, (_, pid: string) => `kill -9 ${pids.get(pid) ?? 'nobody'}`);
}

function shell(command: string): ChildProcess {
  return spawn('sh', ['-c', `exec 2>&1; ${command}`], {
    cwd: folder,
    env: { ...process.env, PORT: port, PATH: `${join(folder, 'bin')}:${process.env.PATH ?? ''}` },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

async function printed(command: string): Promise<string> {
  const child = shell(here(command));
  const [output] = await Promise.all([text(child.stdout!), once(child, 'close')]);
  return output;
}

/** Notes which processes these are, where the output is that of the page. */
function check(page: string, prints: readonly string[], output: string): void {
  const known: string[] = [];
  const pattern = prints.map((line) => {
    if (line.trim() === '[...]') return '(?:.*\\n)*?';
    const words = here(line).replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const loose = words.replace(
      /(pid|supervisor|process) (\d+)|\d+ ms\b/g,
      (_, of?: string, pid?: string) => {
        if (pid === undefined) return '\\d+ ms';
        known.push(pid);
        return `${of ?? ''} (\\d+)`;
      },
    );
    return `${loose}\\n`;
  });
  const found = new RegExp(`^${pattern.join('')}$`).exec(output);
  if (!found) expect(output, page).toBe(`${prints.join('\n')}\n`); // it never is: this shows both
  for (const [i, pid] of known.entries()) {
    const is = found![i + 1];
    expect(pids.get(pid) ?? is, `process ${pid} of ${page}`).toBe(is);
    pids.set(pid, is);
  }
}

async function type(page: string, typed: readonly Typed[]): Promise<void> {
  for (const { command, prints } of typed) check(page, prints, await printed(command));
}

test('a service is run, upgraded, killed and given a bad version: docs/run-a-service.md', async () => {
  const page = 'docs/run-a-service.md';
  const app = extract(fs.readFileSync(join(root, 'README.md'), 'utf8')).find(
    ({ named }) => named === 'app.ts',
  );
  fs.writeFileSync(join(folder, 'app.ts'), here(app!.code));
  const [{ command, prints }] = transcript(page, 'first');
  let output = '';
  running = shell(`exec ${command}`);
  running.stdout!.setEncoding('utf8').on('data', (data: string) => (output += data));
  await expect.poll(() => output, { timeout: 120_000 }).toContain(' serves: ');
  await type(page, transcript(page, 'second'));
  running.kill('SIGTERM');
  await once(running, 'close');
  check(page, prints, output);
});

test('a file of Linux is exported, imported, looked at: docs/kernel-developers.md', async () => {
  await type('docs/kernel-developers.md', transcript('docs/kernel-developers.md', 'kernel'));
});
