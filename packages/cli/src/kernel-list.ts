/**
 * `liveupdate kernel list`: what can be known of live updates of the running kernel. Its sessions
 * are those that a process holds; what is in them the kernel tells nobody.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import { checkDevice, findSessions, type FoundSession } from '@liveupdate/device';
import { printable, printJson } from './output.ts';

/** Blobs that the kernel before left, where debugfs is mounted (root). */
const LEFT = '/sys/kernel/debug/kho/in/sub_fdts';
/** What the kernel says when it has taken over. Its record is memory for others by then. */
const TOOK_OVER = /luo: .*liveupdate number: (?<updates>\d+)/;
/** A message of the kernel has at most so many bytes. */
const MOST_MESSAGE = 8192;

export interface KernelState {
  readonly kernel: string;
  /** How many live updates led to this kernel; undefined where its log does not tell. */
  readonly updates: number | undefined;
  /** The kernel before. */
  readonly before: string | undefined;
  /** Whether a kernel is loaded for `kernel exec`. */
  readonly nextIsLoaded: boolean;
  readonly sessions: readonly FoundSession[];
}

/**
 * Prints it. Returns the exit code.
 *
 * @throws KernelError ENOENT: no live updates here. EACCES, EPERM: not allowed
 */
export function runKernelList({ json }: { readonly json: boolean }): number {
  checkDevice();
  const state = kernelState();
  if (json) printJson(state);
  else process.stdout.write(kernelText(state));
  return 0;
}

/** What is known of the running kernel. */
export function kernelState(): KernelState {
  const metadata = blob('kexec-metadata');
  return {
    kernel: os.release(),
    updates: updatesInLog(),
    before: metadata?.length === 73 ? textAt(metadata, 4, 65) : undefined,
    nextIsLoaded: nextIsLoaded(),
    sessions: findSessions(),
  };
}

/** Whether a kernel is loaded that a reboot by kexec starts. */
export function nextIsLoaded(): boolean {
  try {
    return fs.readFileSync('/sys/kernel/kexec_loaded', 'latin1').trim() === '1';
  } catch {
    return false;
  }
}

/** How many live updates led here, by the kernel's log, which root may read while it is there. */
function updatesInLog(): number | undefined {
  let fd: number;
  try {
    fd = fs.openSync('/dev/kmsg', fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const message = Buffer.alloc(MOST_MESSAGE);
    for (;;) {
      const length = fs.readSync(fd, message);
      const updates = TOOK_OVER.exec(message.toString('utf8', 0, length))?.groups?.['updates'];
      if (updates !== undefined) return Number(updates);
    }
  } catch {
    return undefined; // there are no more messages
  } finally {
    fs.closeSync(fd);
  }
}

function blob(name: string): Buffer | undefined {
  try {
    return fs.readFileSync(`${LEFT}/${name}`);
  } catch {
    return undefined;
  }
}

function textAt(bytes: Buffer, at: number, length: number): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? length : end);
}

const HEADINGS = {
  outgoing: 'for the next kernel',
  incoming: 'of the kernel before, retrieved',
  unknown: 'of a kind that could not be asked for',
} as const;

/** The same for people. */
export function kernelText({ kernel, updates, before, nextIsLoaded, sessions }: KernelState): string {
  const lines = [`kernel    Linux ${kernel}${origin(updates, before)}`];
  lines.push(
    nextIsLoaded
      ? "next      a kernel is loaded: 'liveupdate kernel exec' starts it"
      : "next      no kernel is loaded: 'liveupdate kernel load' does that",
  );
  for (const kind of ['outgoing', 'incoming', 'unknown'] as const) {
    const of = sessions.filter((session) => session.kind === kind);
    if (of.length === 0 && kind !== 'outgoing') continue;
    lines.push('', `sessions ${HEADINGS[kind]}${of.length === 0 ? ': no process holds one' : ''}`);
    const width = Math.max(...of.map(({ name }) => name.length));
    for (const { name, holders } of of) {
      const who = holders.map(({ pid, command }) => `${pid} ${command.join(' ')}`.trim());
      lines.push(`  ${name.padEnd(width)}  held by ${who.join(', ')}`);
    }
  }
  lines.push(
    '',
    'What is in a session, and which sessions of the kernel before nobody has retrieved,',
    'the kernel does not tell.',
  );
  return `${lines.map(printable).join('\n')}\n`;
}

function origin(updates: number | undefined, before: string | undefined): string {
  if (updates === undefined) return '';
  return `, live update ${updates}${before === undefined ? '' : `, after ${before}`}`;
}
