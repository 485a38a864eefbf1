import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from '../check/command.ts';
import { workspace } from '../check/workspace.ts';
import { breaches, isBreaking, READ_ONLY, type Formats, type Release, type Row } from './wire-formats.ts';
import { WorkspaceCopy } from './workspace-copy.ts';

/** Where a package says what it writes. */
const SOURCES = ['abi.ts', 'boot-page.ts', 'live-layout.ts'];

/** The names and numbers of formats in the sources of a package. */
async function written(dir: string): Promise<Formats> {
  const formats: Record<string, string | number> = {};
  for (const source of SOURCES) {
    const file = join(root, dir, 'src', source);
    if (!existsSync(file)) continue;
    for (const [name, value] of Object.entries((await import(file)) as Record<string, unknown>)) {
      if (READ_ONLY.includes(name)) continue;
      if (typeof value === 'string' && /-v\d+$/.test(value)) formats[name] = value;
      if (typeof value === 'number' && name.endsWith('_VERSION')) formats[name] = value;
    }
  }
  return formats;
}

async function pendingReleases(): Promise<Release[]> {
  using copy = new WorkspaceCopy();
  copy.version();
  const next = copy.versions();
  return await Promise.all(
    workspace().map(async ({ name, dir, version, below }) => ({
      name,
      from: version,
      to: next[name],
      below: below.map((other) => other.name),
      writes: await written(dir),
    })),
  );
}

it('what the packages write is what their next version stands for', async () => {
  const releases = await pendingReleases();
  const kho = releases.find(({ name }) => name === '@liveupdate/kho');
  expect(kho?.writes).toHaveProperty('KHO_COMPATIBLE');
  expect(breaches(releases)).toEqual([]);
});

describe('a new format', () => {
  const OLD: Row = { since: '1.0.0', writes: { COMPATIBLE: 'x-v1' } };
  const NEW: Row = { since: '2.0.0', writes: { COMPATIBLE: 'x-v2' } };
  const release = (to: string, writes: Formats): Release => ({
    name: 'x',
    from: '1.4.0',
    to,
    below: [],
    writes,
  });
  const above = (to: string): Release => ({ name: 'above', from: '1.4.0', to, below: ['x'], writes: {} });

  it('that is not in the table is a breach, whatever the version', () => {
    for (const to of ['1.4.1', '1.5.0', '2.0.0'])
      expect(breaches([release(to, NEW.writes)], { x: [OLD] })).toHaveLength(1);
  });
  it('that is in the table under a version that the changesets do not make is a breach', () => {
    expect(breaches([release('1.5.0', NEW.writes)], { x: [OLD, NEW] })).toHaveLength(1);
  });
  it('that is in the table under a version that is no major is a breach', () => {
    expect(breaches([release('1.5.0', NEW.writes)], { x: [OLD, { ...NEW, since: '1.5.0' }] })).toHaveLength(
      1,
    );
  });
  it('is a breach of the packages above that are no new major', () => {
    expect(breaches([release('2.0.0', NEW.writes), above('1.4.1')], { x: [OLD, NEW] })).toHaveLength(1);
  });
  it('is fine as a major of the package and of those above', () => {
    expect(breaches([release('2.0.0', NEW.writes), above('2.0.0')], { x: [OLD, NEW] })).toEqual([]);
  });
  it('is no business of later versions, and none without it', () => {
    const later = { ...release('2.1.0', NEW.writes), from: '2.0.0' };
    expect(breaches([later, above('1.4.1')], { x: [OLD, NEW] })).toEqual([]);
    expect(breaches([release('1.4.1', OLD.writes)], { x: [OLD] })).toEqual([]);
  });
});

it.each([
  ['1.2.3', '1.9.0', false],
  ['1.2.3', '2.0.0', true],
  ['0.1.0', '0.1.9', false],
  ['0.1.0', '0.2.0', true],
  ['0.1.0', '1.0.0', true],
  ['0.0.1', '0.0.2', true],
  ['0.0.0', '0.1.0', false], // nothing was released before
])('from %s to %s breaks: %s', (from, to, expected) => {
  expect(isBreaking(from, to)).toBe(expected);
});
