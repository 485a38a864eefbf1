/** For tests: the real command as a child process, and images for it to read. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Machine, type HandlerFactory } from '@liveupdate/kexec';
import { run } from './main.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const FIXTURE = fileURLToPath(new URL('../../../fixtures/linux-7.3/', import.meta.url));

/** The handover captured from Linux 7.3, and what is in it. */
export const LINUX_IMAGE = join(FIXTURE, 'handover.elf.gz');
export const linuxExpected = (): unknown =>
  JSON.parse(fs.readFileSync(join(FIXTURE, 'expected.json'), 'utf8'));

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The words that run `liveupdate` with these arguments. */
export function liveupdateCommand(...args: string[]): [program: string, ...args: string[]] {
  return [process.execPath, '--conditions=@liveupdate/source', MAIN, ...args];
}

/** Runs `liveupdate` with these arguments to its end. */
export function liveupdate(...args: string[]): Ran {
  const [program, ...words] = liveupdateCommand(...args);
  const { status, stdout, stderr } = spawnSync(program, words, { maxBuffer: 2 ** 28, encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** The same for output that is no text, and for several that run side by side. */
export async function liveupdateBytes(
  ...args: string[]
): Promise<{ readonly stdout: Buffer } & Pick<Ran, 'status' | 'stderr'>> {
  const [program, ...words] = liveupdateCommand(...args);
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [status]] = await Promise.all([
    buffer(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { status, stdout, stderr };
}

/** Runs `liveupdate` with these arguments in this process: the same answers, sooner. */
export async function runHere(...args: string[]): Promise<Ran> {
  const written = { stdout: '', stderr: '' };
  const restore = (['stdout', 'stderr'] as const).map((name) => {
    const write = process[name].write.bind(process[name]);
    process[name].write = (text: string | Uint8Array): boolean => {
      written[name] += String(text);
      return true;
    };
    return () => {
      process[name].write = write;
    };
  });
  try {
    const status = await run(args);
    return { status, ...written };
  } finally {
    for (const undo of restore) undo();
  }
}

/**
 * Seconds that this process has worked since `before`: other programs of the machine do not count,
 * as they do in the time that passes.
 */
export function secondsOfWork(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

/** A directory that is removed when the scope ends. In shared memory, where RAM lives. */
export class Directory implements Disposable {
  readonly path = fs.mkdtempSync('/dev/shm/liveupdate-cli-test-');

  /** Writes a file. Returns its path. */
  write(name: string, content: string | Uint8Array): string {
    const path = join(this.path, name);
    fs.writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.path, { recursive: true });
  }
}

/** What a file is and when it was written: the same before and after it was inspected. */
export function fingerprint(path: string): string {
  const { size, mtimeMs, ctimeMs, mode } = fs.statSync(path);
  const hash = createHash('sha256').update(fs.readFileSync(path)).digest('hex');
  return JSON.stringify({ size, mtimeMs, ctimeMs, mode, hash });
}

/** A machine in a new RAM file. */
export function newMachine(path: string, size: number | string, handlers?: HandlerFactory): Promise<Machine> {
  return Machine.open({ path, size, ...(handlers && { handlers }) });
}

/** Writes `content` to a machine's new memfd and preserves it. */
export async function preserveFile(
  machine: Machine,
  session: string,
  token: bigint,
  content: Uint8Array,
): Promise<void> {
  const { shmem, luo } = machine.kernel;
  const file = shmem.memfdCreate('test', 0);
  file.pwrite(content, 0);
  await luo.createSession(session).preserve(file, token);
}

/** An ELF core with these pieces of memory. */
export function elfCore(pieces: readonly { pa: number; bytes: Uint8Array }[]): Buffer {
  const header = Buffer.alloc(64 + 56 * pieces.length);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(4, 16); // a core
  header.writeBigUInt64LE(64n, 32); // program headers follow
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(pieces.length, 56);
  let offset = header.length;
  for (const [i, { pa, bytes }] of pieces.entries()) {
    const at = 64 + 56 * i;
    header.writeUInt32LE(1, at); // PT_LOAD
    header.writeBigUInt64LE(BigInt(offset), at + 8);
    header.writeBigUInt64LE(BigInt(pa), at + 24);
    header.writeBigUInt64LE(BigInt(bytes.length), at + 32);
    header.writeBigUInt64LE(BigInt(bytes.length), at + 40);
    offset += bytes.length;
  }
  return Buffer.concat([header, ...pieces.map(({ bytes }) => bytes)]);
}
