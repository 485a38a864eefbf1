/**
 * The handover of a real Linux, as it looks before and after: what is written at the handover is
 * taken away, and what the next kernel makes of it is added.
 */
import * as fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { readHandover } from '@liveupdate/kho';
import { ElfCoreRam } from '@liveupdate/memory-image';
import { afterAll, describe, expect, test } from 'vitest';
import { forEachHeads } from './taken-marks.ts';
import { Directory, LINUX_IMAGE, linuxExpected, runHere } from './test-cli.ts';

const MIB = 2 ** 20;
const PAGE = 4096;
const ENTRY = { fdtAddr: 0x4d_8000, fdtSize: PAGE, scratchAddr: 0xf3f_0000, scratchSize: 48 };
const SIZE = 256 * MIB;

const directory = new Directory();
afterAll(() => {
  directory[Symbol.dispose]();
});

interface Report {
  moment: string;
  damage?: string[];
  liveupdateNumber: number | null;
  sessions: { name: string; found?: boolean; files: { token: string; sha256: string; taken?: string }[] }[];
  flbs: object[];
  preserved: { count: number };
  unowned: { bytes: number };
}
const expected = linuxExpected() as Report;
const hashes = expected.sessions.flatMap(({ files }) => files.map(({ sha256 }) => sha256)).sort();
const hashesOf = ({ sessions }: Report): string[] =>
  sessions.flatMap(({ files }) => files.map(({ sha256 }) => sha256)).sort();

/** Memory of Linux, with its handover read. */
function linux(): { memory: Buffer; record: number; heads: number[] } {
  const ram = new ElfCoreRam(gunzipSync(fs.readFileSync(LINUX_IMAGE)), SIZE);
  const handover = readHandover(ram, ENTRY);
  const memory = Buffer.alloc(SIZE);
  for (let pa = 0; pa < SIZE; pa += 4 * MIB) memory.set(ram.bytes(pa, 4 * MIB), pa);
  const heads: number[] = [];
  forEachHeads(handover.table, (pfn, end) => {
    for (let at = pfn; at < end; at++) heads.push(at);
  });
  return { memory, record: handover.subtrees.get('LUO')!.pa, heads };
}

/** Notes in struct pages that these frames were handed over; in memory that is free. */
function mark(memory: Buffer, heads: readonly number[]): void {
  const regions = [0x800_0000, 0x840_0000];
  for (const pfn of heads) {
    const at = regions[pfn >>> 15] + (pfn & 0x7fff) * 64;
    memory.writeUInt32LE(0, at + 40);
    memory.writeUInt32LE(0x4b48_4f50, at + 44);
  }
}

async function inspect(memory: Buffer): Promise<{ report: Report; text: string; status: number | null }> {
  const path = directory.write('memory.raw', memory);
  const { stdout, status } = await runHere('inspect', '--json', path);
  return { report: JSON.parse(stdout) as Report, text: (await runHere('inspect', path)).stdout, status };
}

describe('before the handover', () => {
  const { memory, record } = linux();
  // The blocks are there and empty, and the record names none of them.
  for (const pa of [memory.readBigUInt64LE(record + 16)]) {
    for (let block = Number(pa); block !== 0; block = Number(memory.readBigUInt64LE(block))) {
      for (let i = 0; i < memory.readUInt32LE(block + 8); i++) {
        let files = Number(memory.readBigUInt64LE(block + 16 + i * 80 + 64));
        while (files !== 0) {
          const next = Number(memory.readBigUInt64LE(files));
          memory.fill(0, files + 8, files + PAGE);
          files = next;
        }
      }
      memory.fill(0, block + 8, block + PAGE);
    }
  }
  memory.writeBigUInt64LE(0n, record + 16);

  test('the files that are preserved so far, by their records, each with its content', async () => {
    const { report, text, status } = await inspect(memory);
    expect(status).toBe(0);
    expect(report.moment).toBe('preserving');
    expect(report.preserved.count).toBe(906);
    expect(report.sessions).toMatchObject([{ name: '@memfd', found: true }]);
    // The one without a folio is no more than zeros.
    expect(report.sessions[0].files).toHaveLength(155);
    expect(hashes).toEqual(expect.arrayContaining(hashesOf(report)));
    expect(text).toContain('before a handover: a kernel at work');
    expect(text).toContain('written when it hands over');
    expect(text).toMatch(/nobody that is known here +\d+ KiB/);
  });

  test('one of them is exported by the address of its record', async () => {
    const path = directory.write('memory.raw', memory);
    const { report } = await inspect(memory);
    const [{ token, sha256 }] = report.sessions[0].files;
    const out = `${directory.path}/out`;
    const { status } = await runHere(
      'export',
      '--force',
      path,
      `@memfd/0x${BigInt(token).toString(16)}`,
      out,
    );
    expect(status).toBe(0);
    const { createHash } = await import('node:crypto');
    expect(createHash('sha256').update(fs.readFileSync(out)).digest('hex')).toBe(sha256);
  });
});

describe('after the handover', () => {
  /** The record of LUO is given back and used for something else. */
  const after = (): ReturnType<typeof linux> => {
    const image = linux();
    image.memory.fill(0x5a, image.record, image.record + PAGE);
    return image;
  };

  test('all sessions and files are found without the record; how far to trust them is not known', async () => {
    const { report, text, status } = await inspect(after().memory);
    expect(status).toBe(0);
    expect(report.moment).toBe('taken over');
    const names = report.sessions.map(({ name, files }) => [name, files.map(({ token }) => token)]);
    expect(names).toEqual(
      expected.sessions.map(({ name, files }) => [name, files.map(({ token }) => token)]),
    );
    expect(hashesOf(report)).toEqual(hashes);
    expect(report.flbs).toHaveLength(3);
    expect(text).toMatch(/confidence +low: /);
  });

  test('the kernel has taken none of it: high confidence', async () => {
    const { memory, heads } = after();
    mark(memory, heads);
    const { report, text } = await inspect(memory);
    expect(new Set(report.sessions.flatMap(({ files }) => files.map(({ taken }) => taken)))).toEqual(
      new Set(['no']),
    );
    expect(text).toMatch(/confidence +high: 156 files as handed over/);
  });

  test('it has taken some of it: those files may have changed', async () => {
    const { memory, heads } = after();
    mark(
      memory,
      heads.filter((_, i) => i % 2 === 0 || i > 600),
    );
    const { report, text } = await inspect(memory);
    const states = report.sessions.flatMap(({ files }) => files.map(({ taken }) => taken));
    expect(new Set(states)).toEqual(new Set(['no', 'yes', 'in part']));
    expect(text).toMatch(/confidence +mixed: \d+ files as handed over.*; \d+ files taken since/);
  });

  test('a session block that was given away: its lists of files are found by themselves', async () => {
    const { memory, record } = linux();
    const sessions = Number(memory.readBigUInt64LE(record + 16));
    memory.fill(0x5a, record, record + PAGE);
    memory.fill(0x5a, sessions, sessions + PAGE);
    const { report } = await inspect(memory);
    expect(report.sessions.map(({ name }) => name).every((name) => name.startsWith('@0x'))).toBe(true);
    expect(hashesOf(report)).toEqual(hashes);
  });

  test('so were the lists: the records of the files are found', async () => {
    const { memory, record } = linux();
    memory.fill(0x5a, record, record + PAGE);
    for (let pa = 0; pa < SIZE; pa += PAGE)
      if (memory.toString('latin1', pa + 16, pa + 24) === 'memfd-v2') memory.fill(0x5a, pa, pa + PAGE);
    const { report } = await inspect(memory);
    const loose = report.sessions.find(({ name }) => name === '@memfd');
    expect(loose?.files).toHaveLength(155);
    expect(report.damage?.some((what) => what.includes('is no more there'))).toBe(true);
  });
});
