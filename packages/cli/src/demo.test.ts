/**
 * The demo as people run it: the real command, real processes that are replaced, real shared
 * memory.
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { liveupdate } from './test-cli.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

interface DemoReport {
  readonly size: number;
  readonly preservedBytes: number;
  readonly folios: Record<string, number>;
  readonly generations: number;
  readonly writtenWhilePreserving: { readonly ram: number };
  readonly updatesInMilliseconds: readonly Record<string, number>[];
  readonly files: readonly { readonly kind: string; readonly size: number; readonly sha256: string }[];
}

function demo(...args: string[]): DemoReport {
  const { status, stdout, stderr } = liveupdate('demo', '--json', ...args);
  expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as DemoReport;
}

/** RAM files of demos whose process is gone. */
function leftovers(): string[] {
  return fs
    .readdirSync('/dev/shm')
    .filter((name) => /^liveupdate\.demo-\d+$/.test(name) && !fs.existsSync(`/proc/${name.slice(16)}`));
}

describe('demo', () => {
  it('carries four files of different kinds through three generations', () => {
    const report = demo('--size', '64MiB');
    expect(report.files.map(({ kind, size }) => [kind, size])).toEqual([
      ['huge', 32 * 2 ** 20],
      ['sparse', 16 * 2 ** 20],
      ['sealed', 16 * 2 ** 20 - 123],
      ['empty', 0],
    ]);
    expect(report.folios['9']).toBe(16);
    expect(report.preservedBytes).toBeGreaterThan(64 * 2 ** 20);
    expect(report.updatesInMilliseconds).toHaveLength(2);
    for (const update of report.updatesInMilliseconds) {
      expect(update.blackout).toBeGreaterThan(update.retrieve);
      expect(update.callToFreeze).toBeGreaterThan(0);
    }
    // Records of 16 bytes a folio and the pages of maps: far from the bytes themselves, and not
    // nothing.
    expect(report.writtenWhilePreserving.ram).toBeGreaterThan(0);
    expect(report.writtenWhilePreserving.ram).toBeLessThan(report.preservedBytes / 64);
    expect(new Set(report.files.map((file) => file.sha256)).size).toBe(4);
  });

  it('takes other numbers of files and generations, and no 2 MiB folios', () => {
    const report = demo('--size', '8MiB', '--files', '30', '--generations', '5', '--huge', 'never');
    expect(report.files).toHaveLength(30);
    expect(report.updatesInMilliseconds).toHaveLength(4);
    expect(Object.keys(report.folios)).toEqual(['0']);
  });

  it('has room for the records of thousands of files', () => {
    const report = demo('--size', '32MiB', '--files', '5000', '--generations', '2');
    expect(report.files).toHaveLength(5000);
  });

  it('says at once that shared memory is too small, with the size that fits', () => {
    const { status, stdout, stderr } = liveupdate('demo', '--size', '900TiB');
    expect(status).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/--size \d+MiB/);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('leaves nothing in shared memory after %s', async (signal) => {
    const child = spawn(
      process.execPath,
      ['--conditions=@liveupdate/source', MAIN, 'demo', '--size', '1GiB'],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    const path = `/dev/shm/liveupdate.demo-${child.pid ?? 0}`;
    await new Promise((resolve) => child.stderr.once('data', resolve));
    expect(fs.existsSync(path)).toBe(true);
    const code = await new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill(signal);
    });
    expect(code).toBe(signal === 'SIGINT' ? 130 : 143);
    expect(fs.existsSync(path)).toBe(false);
  });

  it('clears away what a killed demo left', async () => {
    const child = spawn(
      process.execPath,
      ['--conditions=@liveupdate/source', MAIN, 'demo', '--size', '64MiB'],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    await new Promise((resolve) => child.stderr.once('data', resolve));
    await new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill('SIGKILL');
    });
    expect(leftovers()).toContain(`liveupdate.demo-${child.pid ?? 0}`);
    demo('--size', '1MiB', '--generations', '2');
    expect(leftovers()).toEqual([]);
  });
});
