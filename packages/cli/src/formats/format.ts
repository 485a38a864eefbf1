/**
 * What a version of each record can tell. The reader of a version is a file of its own beside this
 * one; `index.ts` lists them. What a kernel of another version wrote is named, and told by what can
 * be read of it.
 */
import type { EntryRecord, Handover, OnDamage, Subtree } from '@liveupdate/kho';
import type {
  FileRecord,
  FlbRecord,
  FoundBlock,
  LuoHead,
  LuoRecords,
  SessionPlace,
} from '@liveupdate/luo-core';
import type { FolioList, MemfdRecord } from '@liveupdate/memfd-handler';
import type { Ram } from '@liveupdate/mm';

interface Format {
  /** What the record calls itself. */
  readonly compatible: string;
}

/** The device tree, and what it names. */
export interface KhoFormat extends Format {
  readonly read: (ram: Ram, entry: EntryRecord, onDamage: OnDamage) => Handover;
}

/** Sessions, lists of files, FLBs. */
export interface LuoFormat extends Format {
  /** The subtree that it is in. */
  readonly subtree: string;
  readonly read: (ram: Ram, handover: Handover, onDamage: OnDamage) => LuoRecords | undefined;
  /** The record, whatever is in it now. */
  readonly head: (ram: Ram, subtree: Subtree) => LuoHead;
  /** What a page holds that nothing leads to; undefined where it is something else. */
  readonly sessions: (page: Uint8Array) => FoundBlock<SessionPlace> | undefined;
  readonly files: (page: Uint8Array) => FoundBlock<FileRecord> | undefined;
  readonly flbs: (page: Uint8Array) => readonly FlbRecord[] | undefined;
}

/** A file in memory. */
export interface MemfdFormat extends Format {
  readonly read: (ram: Ram, pa: number) => MemfdRecord;
  readonly folios: (ram: Ram, record: MemfdRecord, orderOf: (pfn: number) => number) => FolioList;
  /** Whether a page can be one that begins with such a record. */
  readonly mayBe: (page: Uint8Array, ramSize: number) => boolean;
}
