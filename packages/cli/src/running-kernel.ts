/**
 * What formats the running kernel knows: out of its own memory (/proc/kcore, root), or else out of
 * the file that it was started from.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import { KernelError } from '@liveupdate/base';
import { formatsOf, kernelIn, type KernelFormats } from './kernel-image.ts';

const KCORE = '/proc/kcore';
const SYMBOLS = '/proc/kallsyms';
/** A kernel itself is smaller. */
const MOST_BYTES = 2n ** 28n;
/** Bytes of the headers of /proc/kcore that are read. */
const HEADERS = 2 ** 16;
const PT_LOAD = 1;

/**
 * @throws KernelError EACCES: it takes root. ENOENT: neither its memory nor its file can be read
 */
export async function readRunningKernel(): Promise<{
  readonly formats: KernelFormats;
  readonly notes: readonly string[];
}> {
  const memory = ownMemory();
  if (memory) return { formats: formatsOf(memory), notes: [] };
  for (const path of placesOf(os.release())) {
    if (!fs.existsSync(path)) continue;
    const formats = formatsOf(await kernelIn(fs.readFileSync(path), path));
    return { formats, notes: [`the running kernel is taken for the one in ${path}`] };
  }
  const code = process.getuid?.() === 0 ? 'ENOENT' : 'EACCES';
  const why = code === 'EACCES' ? 'run this as root' : 'give its image by name';
  throw new KernelError(code, `the running kernel shows neither its memory (${KCORE}) nor its file: ${why}`);
}

function placesOf(release: string): string[] {
  return [`/boot/vmlinuz-${release}`, `/lib/modules/${release}/vmlinuz`, `/boot/vmlinux-${release}`];
}

/** The kernel's code and data; undefined where they are not shown. */
function ownMemory(): Buffer | undefined {
  try {
    const range = ownRange();
    return range && readMemory(range.from, range.to);
  } catch {
    return undefined;
  }
}

/** Its first address and the one behind it. */
function ownRange(): { readonly from: bigint; readonly to: bigint } | undefined {
  const symbols = fs.readFileSync(SYMBOLS, 'latin1');
  const address = (name: string): bigint => {
    const hex = new RegExp(`^(?<hex>[0-9a-f]+) \\w ${name}$`, 'm').exec(symbols)?.groups?.['hex'];
    return BigInt(`0x${hex ?? '0'}`);
  };
  const from = address('_text');
  const to = address('_end');
  return from > 0n && to > from && to - from < MOST_BYTES ? { from, to } : undefined;
}

/** Memory at addresses of the kernel. What is not there stays zero. */
function readMemory(from: bigint, to: bigint): Buffer | undefined {
  const fd = fs.openSync(KCORE, 'r');
  try {
    const head = Buffer.alloc(HEADERS);
    const length = fs.readSync(fd, head, 0, HEADERS, 0);
    const memory = Buffer.alloc(Number(to - from));
    let found = 0;
    for (const { address, bytes, at } of pieces(head.subarray(0, length))) {
      const begin = address > from ? address : from;
      const end = address + bytes < to ? address + bytes : to;
      if (begin >= end) continue;
      found += read(fd, memory.subarray(Number(begin - from), Number(end - from)), at + (begin - address));
    }
    return found > 0 ? memory : undefined;
  } finally {
    fs.closeSync(fd);
  }
}

function read(fd: number, into: Buffer, at: bigint): number {
  let done = 0;
  while (done < into.length) {
    const length = fs.readSync(fd, into, done, into.length - done, at + BigInt(done));
    if (length === 0) break;
    done += length;
  }
  return done;
}

/** The pieces of memory in an ELF core of 64 bits, by its program headers. */
function* pieces(
  head: Buffer,
): Generator<{ readonly address: bigint; readonly bytes: bigint; readonly at: bigint }> {
  const table = Number(head.readBigUInt64LE(32));
  const size = head.readUInt16LE(54);
  const count = head.readUInt16LE(56);
  for (let i = 0; i < count; i++) {
    const entry = table + i * size;
    if (entry + size > head.length) return;
    if (head.readUInt32LE(entry) !== PT_LOAD) continue;
    const at = head.readBigUInt64LE(entry + 8);
    yield { at, address: head.readBigUInt64LE(entry + 16), bytes: head.readBigUInt64LE(entry + 40) };
  }
}
