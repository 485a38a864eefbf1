/**
 * What formats of live updates a kernel knows, read out of its image: nothing is run.
 *
 * The image of a kernel is a loader around a compressed kernel (x86: the Linux/x86 boot protocol;
 * arm64: EFI zboot), or the kernel itself (vmlinux, Image). In it a format that is asked for by
 * name is a string; and a handler of files, or state that files share, is a structure that begins
 * with a pointer into the kernel and its compatible string, 48 bytes padded with NULs. A kernel
 * reads what it writes, and nothing else: each structure has one name, for both.
 */
import { spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { codeOf, KernelError } from '@liveupdate/base';
import { unpackLz4 } from './lz4.ts';

/** What a kernel names. */
export interface KernelFormats {
  /** As it calls itself, such as 7.3.4. */
  readonly release: string | undefined;
  /** The device tree of Kexec HandOver; nothing where the kernel has none. */
  readonly kho: readonly string[];
  /** The record of the orchestrator, and nodes of it that have versions of their own. */
  readonly luo: readonly string[];
  /** Handlers of files, and state that files share. */
  readonly files: readonly string[];
  /** Others that hand memory over. */
  readonly others: readonly string[];
}

/** A kernel that is unpacked has at most so many bytes. */
const MOST_BYTES = 2 ** 30;
/** Compatible strings of handlers have room for so many bytes. */
const FIELD = 48;
/** Before the field: a pointer. */
const POINTER = 8;

type Unpack = (bytes: Buffer) => Promise<Buffer>;

/** By the program xz: Node has none, and a library would be native code for everybody. */
function unpackXz(bytes: Buffer): Buffer {
  const { status, error, stdout, stderr } = spawnSync('xz', ['--decompress', '--stdout', '--format=xz'], {
    input: bytes,
    maxBuffer: MOST_BYTES,
  });
  if (error && codeOf(error) === 'ENOENT')
    throw new KernelError(
      'EOPNOTSUPP',
      'the kernel is packed by xz, and the program xz is not installed: on Debian, apt-get install xz-utils',
    );
  if (error && status === null) throw error;
  if (status !== 0) throw new KernelError('EINVAL', stderr.toString().trim().replaceAll('\n', ', '));
  return stdout;
}

const limit = { maxOutputLength: MOST_BYTES };

async function unpackZstd(bytes: Buffer): Promise<Buffer> {
  const { zstdDecompress } = zlib as Partial<typeof zlib>;
  if (zstdDecompress)
    return promisify<zlib.InputType, zlib.ZstdOptions, Buffer>(zstdDecompress)(bytes, limit);
  throw new KernelError(
    'EOPNOTSUPP',
    `the kernel is packed by zstd, which Node.js ${process.versions.node} does not read: use 22.15, 23.11 or newer`,
  );
}

const COMPRESSIONS: readonly {
  readonly name: string;
  readonly magic: readonly number[];
  readonly unpack?: Unpack;
}[] = [
  {
    name: 'gzip',
    magic: [0x1f, 0x8b],
    unpack: (bytes) => promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gunzip)(bytes, limit),
  },
  {
    name: 'xz',
    magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0],
    unpack: (bytes) => Promise.resolve().then(() => unpackXz(bytes)),
  },
  {
    name: 'zstd',
    magic: [0x28, 0xb5, 0x2f, 0xfd],
    unpack: unpackZstd,
  },
  {
    name: 'lz4',
    magic: [0x02, 0x21, 0x4c, 0x18],
    unpack: (bytes) => Promise.resolve(unpackLz4(bytes, MOST_BYTES)),
  },
  { name: 'lzma', magic: [0x5d, 0, 0] },
  { name: 'lzo', magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
];

/** The Linux/x86 boot protocol: fields of the header, by their offsets. */
const BOOT = {
  setupSectors: 0x1f1,
  magic: 0x202,
  version: 0x206,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
} as const;
const SECTOR = 512;
/** Since this version the header says where the kernel lies. */
const PAYLOAD_VERSION = 0x208;
/** EFI zboot: 'MZ', 'zimg' at 4, the kernel's offset u32 at 8 and its bytes u32 at 12. */
const ZBOOT = { magic: 4, offset: 8, length: 12 } as const;
/** arm64's Image says so here. */
const ARM64_MAGIC = 56;
/** An ELF file says here what it is: 2 is a program, 3 one that is moved, 4 a core. */
const ELF_TYPE = 16;
const ELF_CORE = 4;

const text = (bytes: Buffer, at: number, length: number): string => bytes.toString('latin1', at, at + length);
const isBzImage = (bytes: Buffer): boolean => text(bytes, BOOT.magic, 4) === 'HdrS';
const isZboot = (bytes: Buffer): boolean =>
  text(bytes, 0, 2) === 'MZ' && text(bytes, ZBOOT.magic, 4) === 'zimg';
const isElfProgram = (bytes: Buffer): boolean =>
  text(bytes, 0, 4) === '\x7fELF' && bytes.length > ELF_TYPE + 1 && bytes.readUInt16LE(ELF_TYPE) !== ELF_CORE;
const isArm64 = (bytes: Buffer): boolean => text(bytes, ARM64_MAGIC, 4) === 'ARM\x64';
const compressionOf = (bytes: Buffer): (typeof COMPRESSIONS)[number] | undefined =>
  COMPRESSIONS.find(({ magic }) => magic.every((byte, i) => bytes.at(i) === byte));

/** Whether these are the first bytes of something compressed. */
export function isCompressed(head: Buffer): boolean {
  return compressionOf(head) !== undefined;
}

/** Whether these are the first bytes of a kernel, as it is or in its loader. */
export function isKernelImage(head: Buffer): boolean {
  return isBzImage(head) || isZboot(head) || isElfProgram(head) || isArm64(head);
}

/** Unpacks what is compressed, as often as that takes. */
async function unpack(bytes: Buffer, what: string): Promise<Buffer> {
  const compression = compressionOf(bytes);
  if (!compression) return bytes;
  const { name, unpack: work } = compression;
  if (!work)
    throw new KernelError(
      'EOPNOTSUPP',
      `${what} is compressed by ${name}: unpack it first (the kernel's script extract-vmlinux does), and name the vmlinux`,
    );
  try {
    return await work(bytes);
  } catch (cause) {
    if (cause instanceof KernelError && cause.code === 'EOPNOTSUPP') throw cause;
    const why = (cause instanceof Error ? cause.message : String(cause)).replace(/^EINVAL: /, '');
    throw new KernelError(
      'EINVAL',
      `${what} cannot be unpacked by ${name} (${why}): it is cut short or damaged`,
      {
        cause,
      },
    );
  }
}

/**
 * The kernel in a file: out of its loader, and unpacked.
 *
 * @throws KernelError EINVAL: no kernel, or damaged. EOPNOTSUPP: compressed in a way that is not
 * read here
 */
export async function kernelIn(file: Buffer, path: string): Promise<Buffer> {
  const image = isKernelImage(file) ? file : await unpack(file, `'${path}'`);
  if (isBzImage(image)) {
    if (image.readUInt16LE(BOOT.version) < PAYLOAD_VERSION)
      throw new KernelError(
        'EINVAL',
        `'${path}' is of a time before live updates: its boot protocol is too old`,
      );
    const sectors = image.readUInt8(BOOT.setupSectors) || 4;
    const at = (sectors + 1) * SECTOR + image.readUInt32LE(BOOT.payloadOffset);
    return unpack(
      payload(image, at, image.readUInt32LE(BOOT.payloadLength), path),
      `the kernel in '${path}'`,
    );
  }
  if (isZboot(image)) {
    const length = image.readUInt32LE(ZBOOT.length);
    return unpack(payload(image, image.readUInt32LE(ZBOOT.offset), length, path), `the kernel in '${path}'`);
  }
  if (isElfProgram(image) || isArm64(image)) return image;
  throw new KernelError(
    'EINVAL',
    `'${path}' is no kernel: name a bzImage (vmlinuz), a vmlinux or an Image, as it is or compressed`,
  );
}

/** Behind what is compressed, but for gzip, stand four bytes with the size unpacked. */
function payload(image: Buffer, at: number, length: number, path: string): Buffer {
  if (at + length > image.length) throw new KernelError('EINVAL', `'${path}' is cut short: copy it again`);
  const bytes = image.subarray(at, at + length);
  return compressionOf(bytes)?.name === 'gzip' ? bytes : bytes.subarray(0, -4);
}

/** What ends the names of all formats. */
const NAME_END = /-v\d{1,4}\0/g;
/** What stands before that. */
const NAME_BEGIN = /[a-z][a-z0-9,._-]{0,44}$/;
const MOST_BEGIN = 45;
const KHO = /^kho-v\d+$/;
const LUO = /^luo(?:-session|-flb)?-v\d+$/;
/** Parts of Linux that hand memory over by a node of their own. */
const OTHER = /^(?:memblock|reserve-mem)-v\d+$/;
/** Addresses of a kernel: the upper end of 64 bits. */
const KERNEL_ADDRESS = 0xffff_0000_0000_0000n;

/** The formats that a kernel names. */
export function formatsOf(kernel: Buffer): KernelFormats {
  const found = {
    kho: new Set<string>(),
    luo: new Set<string>(),
    files: new Set<string>(),
    others: new Set<string>(),
  };
  for (const { at, name } of namesIn(kernel)) {
    const field = kernel.subarray(at + name.length, at + FIELD);
    const pointer = at < POINTER ? 0n : kernel.readBigUInt64LE(at - POINTER);
    if (at % POINTER === 0 && pointer >= KERNEL_ADDRESS && field.every((byte) => byte === 0))
      found.files.add(name);
    else if (at > 0 && kernel[at - 1] !== 0)
      continue; // the end of another string
    else if (KHO.test(name)) found.kho.add(name);
    else if (LUO.test(name)) found.luo.add(name);
    else if (OTHER.test(name)) found.others.add(name);
  }
  const sorted = (set: Set<string>): string[] => [...set].sort();
  return {
    release: /Linux version (?<release>[\w.+~-]+) \(/.exec(aroundVersion(kernel))?.groups?.['release'],
    kho: sorted(found.kho),
    luo: sorted(found.luo),
    files: sorted(found.files),
    others: sorted(found.others),
  };
}

function aroundVersion(kernel: Buffer): string {
  // A format of it comes first in some: the one with a number counts.
  for (let at = kernel.indexOf('Linux version '); at >= 0; at = kernel.indexOf('Linux version ', at + 1)) {
    const line = text(kernel, at, 200);
    if (/^Linux version \d/.test(line)) return line;
  }
  return '';
}

const STEP = 2 ** 24;

/** All names that end in a version, in pieces: a kernel as one text would be too long for some. */
function* namesIn(kernel: Buffer): Generator<{ readonly at: number; readonly name: string }> {
  for (let from = 0; from < kernel.length; from += STEP) {
    const piece = text(kernel, from, STEP + FIELD);
    for (const { index, 0: end } of piece.matchAll(NAME_END)) {
      const first = Math.max(0, index - MOST_BEGIN);
      const begin = NAME_BEGIN.exec(piece.slice(first, index));
      if (!begin) continue;
      const at = first + begin.index;
      if (at >= STEP) break;
      if (at > 0 || from === 0) yield { at: from + at, name: begin[0] + end.slice(0, -1) };
    }
  }
}
