/**
 * How the command `liveupdate` talks to a supervisor: one question a connection, over a Unix socket
 * that belongs to the user.
 */
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, KernelError } from '@liveupdate/base';

const fs = process.getBuiltinModule('node:fs');

export type Question = { readonly ask: 'upgrade' | 'status' | 'stop' };

export interface Answer {
  readonly ok: boolean;
  /** What was done; or why it was not. */
  readonly text: string;
  /** What `status` asks for. */
  readonly status?: unknown;
}

const MOST_BYTES = 2 ** 16;

/**
 * The folder of the sockets of this user's supervisors.
 *
 * @throws KernelError EPERM: there is one in its place that is another user's, or that others may
 * write
 */
function controlFolder(): string {
  const uid = process.geteuid?.() ?? 0;
  const runtime = process.env['XDG_RUNTIME_DIR'];
  const base = uid === 0 ? '/run' : (runtime ?? tmpdir());
  const folder = join(base, uid === 0 || runtime !== undefined ? 'liveupdate' : `liveupdate-${uid}`);
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const stat = fs.lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o022) !== 0)
    throw new KernelError('EPERM', `${folder} is not this user's alone: remove it, or chmod 700`);
  return folder;
}

function controlPath(name: string): string {
  return join(controlFolder(), `${name}.sock`);
}

/**
 * Answers questions.
 *
 * @throws KernelError EBUSY: another supervisor of this name runs
 */
export async function answerQuestions(
  name: string,
  answer: (question: Question) => Promise<Answer>,
): Promise<net.Server> {
  const path = controlPath(name);
  const server = net.createServer((socket) => {
    readLine(socket)
      .then(async (line) => {
        socket.end(`${JSON.stringify(await answer(JSON.parse(line) as Question))}\n`);
      })
      .catch(() => socket.destroy());
  });
  for (const isLast of [false, true]) {
    try {
      await listen(server, path);
      fs.chmodSync(path, 0o600);
      server.unref();
      return server;
    } catch (error) {
      if (codeOf(error) !== 'EADDRINUSE' || isLast) throw error;
      if (await isAlive(path))
        throw new KernelError('EBUSY', `a supervisor of '${name}' runs already: see 'liveupdate status'`);
      fs.rmSync(path, { force: true }); // of one that was killed
    }
  }
  return server;
}

/**
 * Asks the supervisor of a service.
 *
 * @throws KernelError ENOENT: none of this name runs
 */
export async function askSupervisor(name: string, ask: Question['ask']): Promise<Answer> {
  const socket = net.connect(controlPath(name));
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject);
    });
  } catch (cause) {
    throw new KernelError('ENOENT', `no supervisor of '${name}' runs: start it by 'liveupdate run'`, {
      cause,
    });
  }
  socket.write(`${JSON.stringify({ ask })}\n`);
  return JSON.parse(await readLine(socket)) as Answer;
}

/** The names of all supervisors of this user. */
export function supervisorNames(): string[] {
  return fs
    .readdirSync(controlFolder())
    .filter((file) => file.endsWith('.sock'))
    .map((file) => file.slice(0, -'.sock'.length));
}

async function listen(server: net.Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => {
      resolve(false);
    });
  });
}

function readLine(socket: net.Socket): Promise<string> {
  socket.setEncoding('utf8');
  return new Promise((resolve, reject) => {
    let text = '';
    socket.on('data', (some: string) => {
      text += some;
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
      else if (text.length > MOST_BYTES) socket.destroy();
    });
    socket.on('error', () => undefined); // told by 'close'
    socket.once('close', () => {
      reject(new KernelError('ENODATA', 'the supervisor ended before it answered'));
    });
  });
}
