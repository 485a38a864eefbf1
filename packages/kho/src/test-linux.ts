/** The handover captured from Linux 7.3.4, for tests. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { ElfCoreRam } from '@liveupdate/memory-image';
import type { EntryRecord } from './read-handover.ts';

interface Expected {
  readonly preserved: { readonly count: number; readonly bytes: number };
  readonly boot: EntryRecord & { readonly ramSize: number };
}

const fixture = (name: string): Buffer =>
  readFileSync(fileURLToPath(new URL(`../../../fixtures/linux-7.3/${name}`, import.meta.url)));

export function openLinux(): { image: ElfCoreRam; entry: EntryRecord; expected: Expected } {
  const expected = JSON.parse(fixture('expected.json').toString()) as Expected;
  const image = new ElfCoreRam(gunzipSync(fixture('handover.elf.gz')), expected.boot.ramSize);
  return { image, entry: expected.boot, expected };
}
