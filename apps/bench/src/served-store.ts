/** What a user would keep numbers and bytes in without live update, served by HTTP. */
import * as fs from 'node:fs';
import { PAGE_SIZE } from '@liveupdate/base';
import { arrayNumbers, politeServer, type PoliteServer } from './numbers-server.ts';
import {
  keepCompiledCode,
  openLmdb,
  openSqlite,
  pathOf,
  type NumbersStore,
  type StoreArgument,
} from './open-store.ts';
import { fillBytes } from './workload.ts';

export type ServedKind = 'lmdb' | 'sqlite' | 'heap';

/** What the program is told. */
export interface ServedStoreArgument extends Omit<StoreArgument, 'kind'> {
  readonly kind: ServedKind;
  /** 0: any that is free. */
  readonly port: number;
}

/** Bytes that are read or written in one call. */
const PIECE = 2 ** 26;

/** An array in the heap: written to a file at the end, read from it at the start. */
function openHeap({ directory, size }: ServedStoreArgument): NumbersStore {
  const path = `${directory}/heap`;
  const bytes = new Uint8Array(size);
  type Work = (fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => number;
  const move = (work: Work, flags: string): void => {
    const fd = fs.openSync(path, flags);
    for (let at = 0; at < size; at += PIECE) work(fd, bytes, at, Math.min(PIECE, size - at), at);
    fs.closeSync(fd);
  };
  if (fs.existsSync(path)) {
    move(fs.readSync, 'r');
    fs.rmSync(path);
  }
  return {
    numbers: arrayNumbers(new Uint32Array(bytes.buffer)),
    fill: () => {
      fillBytes(bytes.subarray(PAGE_SIZE)); // the numbers are zero
    },
    firstByte: () => bytes[0],
    end: () => {
      move(fs.writeSync, 'w');
    },
  };
}

/** A store, and its server. */
export interface ServedStore extends PoliteServer {
  readonly end: () => Promise<void>;
}

/** Opens what is there, or makes it. */
export function openServed(told: ServedStoreArgument, isNew: boolean): ServedStore {
  const { kind } = told;
  if (kind !== 'heap') keepCompiledCode(kind);
  const store =
    kind === 'heap'
      ? openHeap(told)
      : kind === 'lmdb'
        ? openLmdb({ ...told, kind })
        : openSqlite({ ...told, kind }, isNew);
  if (isNew) store.fill();
  const { server, drain } = politeServer(store.numbers, () => store.readAll?.());
  return {
    server,
    drain,
    end: async () => {
      await drain();
      await store.end();
    },
  };
}

/** Whether there is nothing yet. */
export function isNew({ kind, directory, size }: ServedStoreArgument): boolean {
  return !fs.existsSync(kind === 'heap' ? `${directory}/heap` : pathOf({ kind, directory, size }));
}
