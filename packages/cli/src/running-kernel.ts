/**
 * What formats the running kernel knows: out of its own memory (/proc/kcore, root), or else out of
 * the file that it was started from.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
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
    const fd = fs.openSync(KCORE, 'r');
    try {
      const head = Buffer.alloc(HEADERS);
      const length = fs.readSync(fd, head, 0, HEADERS, 0);
      const text = addressOfText();
      const own = [...pieces(head.subarray(0, length))].find(
        ({ address, bytes }) => address <= text && text < address + bytes && bytes < MOST_BYTES,
      );
      return own && read(fd, own.at, Number(own.bytes));
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/** Where the kernel's code begins; 0 where that is hidden. */
function addressOfText(): bigint {
  const symbols = fs.readFileSync(SYMBOLS, 'latin1');
  const hex = /^(?<hex>[0-9a-f]+) \w _text$/m.exec(symbols)?.groups?.['hex'];
  return BigInt(`0x${hex ?? '0'}`);
}

/** Memory of the kernel. Pages of it that are not there any more stay zero. */
function read(fd: number, at: bigint, bytes: number): Buffer {
  const memory = Buffer.alloc(bytes);
  for (let page = 0; page < bytes; page += PAGE_SIZE) {
    try {
      fs.readSync(fd, memory, page, Math.min(PAGE_SIZE, bytes - page), at + BigInt(page));
    } catch {
      // what was needed at the boot alone is given back
    }
  }
  return memory;
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
