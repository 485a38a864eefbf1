/**
 * The handler for open descriptors. What is behind one lives in the operating system, and is not
 * saved: a store carries a duplicate into the next generation (FdStore of luo-core), and the record
 * says by which key it is found there, and what it must be.
 */
import { checkObject, isInstance, KernelError } from '@liveupdate/base';
import type { Kho, PreservedBlock } from '@liveupdate/kho';
import type { FdStore, FileHandler } from '@liveupdate/luo-core';
import { FD_V1, FdSer } from './abi.ts';
import { FdFile } from './fd-file.ts';

export interface FdHandlerInit {
  readonly kho: Kho;
  /** What carries descriptors; without one every preserve is EOPNOTSUPP. */
  readonly fds: FdStore | undefined;
}

const fs = process.getBuiltinModule('node:fs');

/** The handler for fd-v1. A machine passes both that it needs: `({ kho, fds }) => [...]`. */
export function fdHandler(init: FdHandlerInit): FileHandler<FdFile> {
  checkObject(init, 'what a descriptor handler needs');
  const { kho, fds } = init;
  checkObject(kho, 'a KHO');
  if (fds !== undefined) checkObject(fds, 'a store of descriptors');
  return {
    compatible: FD_V1,

    canPreserve: (file): file is FdFile => isInstance(file, FdFile),

    preserve({ file }) {
      if (!fds)
        throw new KernelError(
          'EOPNOTSUPP',
          'nothing carries descriptors from here: open a Machine, and pass its fds to the handler',
        );
      const key = fds.keep(file.fd);
      try {
        const block = kho.allocPreserve(FdSer.SIZE);
        write(block, key, file);
        return { data: block.pa };
      } catch (error) {
        fds.drop(key);
        throw error;
      }
    },

    unpreserve({ data }) {
      const key = kho.at(data).getU32(FdSer.key);
      kho.unpreserveFree(data);
      fds?.drop(key);
    },

    /**
     * @throws KernelError ENOENT: the descriptor did not come along, or was no record of the
     * previous kernel. EIO: another one came under its key. EINVAL: a damaged record.
     */
    retrieve({ data }) {
      const { key, number, identity } = read(kho.at(data));
      kho.restoreFree(data); // before anything may be refused: then nothing is left behind
      const fd = take(fds, key);
      try {
        if (isSame(identify(fd), identity)) return new FdFile(fd, number);
        throw new KernelError(
          'EIO',
          `descriptor ${fd} is not what was preserved as ${number}: it was closed`,
        );
      } catch (error) {
        fs.closeSync(fd);
        throw error;
      }
    },

    finish({ data, retrieval }) {
      if (retrieval !== 'untried') return;
      const key = kho.at(data).getU32(FdSer.key);
      kho.restoreFree(data);
      try {
        fs.closeSync(take(fds, key));
      } catch (error) {
        // It did not come along, as where the process before died: then nothing is left to close.
        if (!(error instanceof KernelError && error.code === 'ENOENT')) throw error;
      }
    },
  };
}

function take(fds: FdStore | undefined, key: number): number {
  if (fds) return fds.take(key);
  throw new KernelError('ENOENT', 'nothing carries descriptors to here: pass the fds of a Machine');
}

/** What tells one open file from another. */
interface Identity {
  readonly device: bigint;
  readonly inode: bigint;
  readonly kind: number;
}

function identify(fd: number): Identity {
  const { dev, ino, mode } = fs.fstatSync(fd, { bigint: true });
  return { device: dev, inode: ino, kind: kindOf(mode) };
}

function isSame(one: Identity, other: Identity): boolean {
  return one.device === other.device && one.inode === other.inode && one.kind === other.kind;
}

function write(block: PreservedBlock, key: number, { fd }: FdFile): void {
  const { device, inode, kind } = identify(fd);
  block.setU32(FdSer.key, key);
  block.setU32(FdSer.number, fd);
  block.setU64(FdSer.device, device);
  block.setU64(FdSer.inode, inode);
  block.setU32(FdSer.kind, kind);
}

function read(block: PreservedBlock): { key: number; number: number; identity: Identity } {
  const kind = block.getU32(FdSer.kind);
  if (kind !== kindOf(BigInt(kind)) || block.getU32(FdSer.reserved) !== 0)
    throw new KernelError('EINVAL', 'the record of a descriptor is damaged');
  return {
    key: block.getU32(FdSer.key),
    number: block.getU32(FdSer.number),
    identity: { device: block.getU64(FdSer.device), inode: block.getU64(FdSer.inode), kind },
  };
}

/** Socket, pipe, file and so on: S_IFMT of a mode. */
function kindOf(mode: bigint): number {
  return Number(mode) & fs.constants.S_IFMT;
}
