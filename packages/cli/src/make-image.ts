/**
 * `liveupdate make-image`: a handover with files of a disk in it, as a folder from which QEMU boots
 * a real Linux.
 */
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { formatSize, KernelError } from '@liveupdate/base';
import {
  pcMemoryMap,
  readKernelImage,
  writeBootImage,
  type BootImage,
  type BootImageOptions,
} from '@liveupdate/boot-image';
import { bootCold } from '@liveupdate/kho';
import { LiveUpdateOrchestrator, type FileLifecycleBound } from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { SparseRam, withMemoryMap } from '@liveupdate/mm';
import { Shmem } from '@liveupdate/shmem';
import { progressOnTerminal } from './open-image.ts';
import type { ImageFile, ImageFlb } from './option-values.ts';
import { printJson, printLine } from './output.ts';
import { readKernelFile } from './compat-source.ts';
import { CHUNK, counting, sparseWriter } from './sparse-writer.ts';
import { UsageError } from './usage-error.ts';

export interface MakeImageOptions {
  /** Path of a bzImage. */
  readonly kernel: string;
  /** Bytes of the machine's memory. */
  readonly memory?: number | undefined;
  readonly flbs: readonly ImageFlb[];
  readonly huge: boolean;
  readonly json: boolean;
}

const MiB = 2 ** 20;
/**
 * Where Linux boots: an area for low memory, one for all, and one for each NUMA node. They held a
 * kernel of 46 MiB with a gigabyte of memory.
 */
const SCRATCH = [
  { addr: 64 * MiB, size: 64 * MiB },
  { addr: 128 * MiB, size: 0 },
  { addr: 128 * MiB, size: 96 * MiB },
];
/** What Linux and its programs need beside what is preserved. */
const ROOM = 512 * MiB;
const MOST_MEMORY = 3 * 1024 * MiB;
/** The scratch areas end below that. */
const LEAST_MEMORY = 256 * MiB;

/**
 * Writes the folder. Returns the exit code.
 *
 * @throws UsageError: no files, or two of one name. KernelError EEXIST: the folder is there.
 * ENOENT, EINVAL: a file that is none, or no kernel that can be booted so. ENOMEM: the files do not
 * fit. What was written stays.
 */
export async function runMakeImage(
  folder: string,
  files: readonly ImageFile[],
  { kernel: kernelPath, memory, flbs, huge, json }: MakeImageOptions,
): Promise<number> {
  if (fs.existsSync(folder))
    throw new KernelError('EEXIST', `'${folder}' is there already: name a folder that is to be made`);
  const kernel = readKernel(kernelPath);
  const sizes = files.map(({ from }) => sizeOf(from));
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const size = memory ?? Math.ceil((bytes * 1.02 + ROOM) / MiB) * MiB;
  if (memory === undefined && size > MOST_MEMORY)
    throw new KernelError(
      'EFBIG',
      `the files have ${formatSize(bytes)}: a PC has at most ${formatSize(MOST_MEMORY)} here, of which Linux needs ${formatSize(ROOM)}`,
    );
  if (size < LEAST_MEMORY)
    throw new KernelError(
      'EINVAL',
      `--memory: Linux needs ${formatSize(LEAST_MEMORY)} at least to boot from a handover`,
    );
  const map = pcMemoryMap(size);
  const ram = withMemoryMap(new SparseRam(size), map);
  const kho = bootCold(ram, { scratch: SCRATCH, freeMemory: 'zero', release: 'liveupdate make-image' });
  const shmem = new Shmem({ pages: kho.pages });
  const handler = { ...memfdHandler({ kho, shmem }), flbs: flbs.map(flbOf) };
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [handler] });
  const progress = await progressOnTerminal('read', bytes);
  try {
    for (const [i, { session: name, token, from }] of files.entries()) {
      const session = luo.outgoingSessions.find((each) => each.name === name) ?? luo.createSession(name);
      if (session.files.some((each) => each.token === token))
        throw new UsageError(`${name}/${token} is there twice: give each file a token of its own`);
      const file = shmem.memfdCreate('image');
      if (huge) file.adviseHuge();
      const source = fs.createReadStream(from, { highWaterMark: CHUNK });
      await pipeline(source, counting(progress), sparseWriter(file, huge));
      if (file.size !== sizes[i])
        throw new KernelError(
          'EAGAIN',
          `'${from}' changed while it was read: stop what writes to it, or copy it`,
        );
      file.seek(0);
      await session.preserve(file, token);
      file.close();
    }
  } finally {
    progress.stop();
  }
  await luo.reboot();
  const image = await writeOrRemove(resolve(folder), { ram, size, entry: kho.entry, kernel });
  const command = [
    'qemu-system-x86_64',
    ...image.machine,
    ...['-nodefaults', '-nographic', '-serial', 'mon:stdio', '-append', 'console=ttyS0 kho=on liveupdate=on'],
  ];
  const script = join(folder, 'run.sh');
  fs.writeFileSync(script, `#!/bin/sh\nexec ${command.map(quoted).join(' ')} "$@"\n`, { mode: 0o755 });
  if (json)
    printJson({
      folder,
      memory: size,
      written: image.written,
      kernel: image.release,
      entry: kho.entry,
      command,
    });
  else {
    const sessions = luo.outgoingSessions.length;
    printLine(
      `${count(files.length, 'file')} in ${count(sessions, 'session')}, ${formatSize(bytes)}, for a PC of ${formatSize(size)}`,
    );
    printLine(`boot ${image.release} with: ${script} -initrd YOURS`);
  }
  return 0;
}

/** What was made of the folder goes again where it does not become whole. */
async function writeOrRemove(folder: string, options: BootImageOptions): Promise<BootImage> {
  try {
    return await writeBootImage(folder, options);
  } catch (error) {
    for (const name of ['memory', 'kernel']) fs.rmSync(join(folder, name), { force: true });
    if (fs.existsSync(folder)) fs.rmdirSync(folder);
    throw error;
  }
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;

function quoted(word: string): string {
  return /^[\w./:=,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

function readKernel(path: string): Uint8Array {
  const bytes = readKernelFile(path);
  readKernelImage(bytes); // before anything is made
  return bytes;
}

function sizeOf(path: string): number {
  const stat = fs.statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new KernelError('ENOENT', `there is no file '${path}'`);
  if (!stat.isFile()) throw new KernelError('EINVAL', `'${path}' is no regular file`);
  return stat.size;
}

function flbOf({ name, data }: ImageFlb): FileLifecycleBound {
  return {
    compatible: name,
    preserve: () => ({ data, object: data }),
    unpreserve: () => undefined,
    retrieve: () => data,
    finish: () => undefined,
  };
}
