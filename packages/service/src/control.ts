/**
 * How the command `liveupdate` talks to a supervisor: one question a connection, over a Unix socket
 * that belongs to the user.
 */
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeOf, KernelError } from '@liveupdate/base';
import { duplicateFrom, listenUnix } from '@liveupdate/linux';

const fs = process.getBuiltinModule('node:fs');

export type Question = { readonly ask: 'upgrade' | 'renew' | 'status' | 'stop' };

export interface Answer {
  readonly ok: boolean;
  /** What was done; or why it was not. */
  readonly text: string;
  /** What `status` asks for. */
  readonly status?: unknown;
}

const MOST_BYTES = 2 ** 16;
/** How often a question is asked that a supervisor leaves unanswered. */
const MOST_TRIES = 5;

/**
 * The folder of the sockets of this user's supervisors.
 *
 * @throws KernelError EPERM: there is one in its place that is another user's, or that others may
 * write. EROFS, EACCES, ENOSPC: it cannot be made
 */
function controlFolder(): string {
  const uid = process.geteuid?.() ?? 0;
  const runtime = process.env['XDG_RUNTIME_DIR'];
  const base = uid === 0 ? '/run' : (runtime ?? tmpdir());
  const folder = join(base, uid === 0 || runtime !== undefined ? 'liveupdate' : `liveupdate-${uid}`);
  makeFolder(base, folder);
  const stat = fs.lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o022) !== 0)
    throw new KernelError('EPERM', `${folder} is not this user's alone: remove it, or chmod 700`);
  return folder;
}

/** @throws KernelError EROFS, EACCES, ENOSPC and others, as mkdir(2) has them */
function makeFolder(base: string, folder: string): void {
  try {
    fs.mkdirSync(base, { recursive: true, mode: 0o700 });
    fs.mkdirSync(folder, { mode: 0o700 }); // `recursive` calls a read-only file system ENOENT
  } catch (cause) {
    const code = codeOf(cause);
    if (code === 'EEXIST') return;
    const advice = `mount one that is writable at ${base}`;
    throw new KernelError(code, `the supervisor's socket has no folder ${folder}: ${advice}`, { cause });
  }
}

function controlPath(name: string): string {
  return join(controlFolder(), `${name}.sock`);
}

/** Where questions come in. */
export class Control {
  /** The listening socket: it outlives this process where that is replaced. */
  readonly fd: number;
  /** Undefined where the folder is not this user's any more. */
  readonly #path: string | undefined;
  readonly #server: net.Server;

  /**
   * Answers questions.
   *
   * @param answer resolves with undefined where another will answer
   * @param fd the socket, where there is one already
   * @throws KernelError EBUSY: another supervisor of this name runs
   */
  constructor(
    name: string,
    answer: (question: Question, asks: net.Socket) => Promise<Answer | undefined>,
    fd?: number,
  ) {
    this.#path = fd === undefined ? controlPath(name) : knownPath(name);
    this.fd = fd ?? listenAt(controlPath(name), name);
    this.#server = net.createServer((socket) => {
      readLine(socket)
        .then(async (line) => {
          const said = await answer(JSON.parse(line) as Question, socket);
          if (said) endWith(socket, said);
        })
        .catch(() => socket.destroy());
    });
    this.#server.listen({ fd: duplicateFrom(this.fd, 0) }).unref();
  }

  close(): void {
    if (this.#path !== undefined) fs.rmSync(this.#path, { force: true });
    this.#server.close();
    fs.closeSync(this.fd);
  }
}

/** Says the answer to who asked. */
export function endWith(socket: net.Socket, answer: Answer): void {
  socket.end(`${JSON.stringify(answer)}\n`);
}

function listenAt(path: string, name: string): number {
  try {
    return listenUnix({ path, mode: 0o600 });
  } catch (error) {
    if (codeOf(error) !== 'EADDRINUSE') throw error;
    throw new KernelError('EBUSY', `a supervisor of '${name}' runs already: see 'liveupdate status'`);
  }
}

function knownPath(name: string): string | undefined {
  try {
    return controlPath(name);
  } catch {
    return undefined;
  }
}

/**
 * Asks the supervisor of a service.
 *
 * @throws KernelError ENOENT: none of this name runs. ENODATA: it ended before it answered
 */
export async function askSupervisor(name: string, ask: Question['ask']): Promise<Answer> {
  for (let tries = 1; ; tries++) {
    try {
      return await askOnce(name, ask);
    } catch (error) {
      // One that is just being replaced leaves questions; to ask this again changes nothing.
      if (ask !== 'status' || codeOf(error) !== 'ENODATA' || tries === MOST_TRIES) throw error;
    }
  }
}

async function askOnce(name: string, ask: Question['ask']): Promise<Answer> {
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
