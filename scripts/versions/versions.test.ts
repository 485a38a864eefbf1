/** Each package has a version of its own: what a changeset moves, and what it leaves alone. */
import { describe, expect, it } from 'vitest';
import { workspace } from '../check/workspace.ts';
import { WorkspaceCopy, type Bump } from './workspace-copy.ts';

const KHO = '@liveupdate/kho';

/** Versions after a release of everything, and then one change of kho. */
function after(released: string, bump: Bump): Record<string, string> {
  using copy = new WorkspaceCopy();
  copy.releaseAll(released);
  copy.addChangeset({ [KHO]: bump });
  copy.version();
  return copy.versions();
}

/** All packages at `released`, but for these. */
function but(released: string, moved: Record<string, string>): Record<string, string> {
  return { ...Object.fromEntries(workspace().map(({ name }) => [name, released])), ...moved };
}

/** Packages that name kho, each with the version given. */
function dependents(version: string): Record<string, string> {
  using copy = new WorkspaceCopy();
  const naming = [...copy.manifests().values()].filter(({ dependencies = {} }) => KHO in dependencies);
  expect(naming.map(({ name }) => name)).toContain('@liveupdate/luo-core');
  return Object.fromEntries(naming.map(({ name }) => [name, version]));
}

describe('a changeset moves', () => {
  it.each([
    { released: '1.2.3', bump: 'patch', to: '1.2.4' },
    { released: '1.2.3', bump: 'minor', to: '1.3.0' },
    { released: '0.1.0', bump: 'patch', to: '0.1.1' },
  ] as const)('just the package: $bump of $released', ({ released, bump, to }) => {
    // ^1.2.3 takes 1.3.0: nobody above needs another range.
    expect(after(released, bump)).toEqual(but(released, { [KHO]: to }));
  });

  it.each([
    { released: '1.2.3', bump: 'major', to: '2.0.0', above: '1.2.4' },
    { released: '0.1.0', bump: 'minor', to: '0.2.0', above: '0.1.1' },
  ] as const)('those that name it too, once their range no longer fits: $bump of $released', (each) => {
    const { released, bump, to, above } = each;
    expect(after(released, bump)).toEqual(but(released, { ...dependents(above), [KHO]: to }));
  });
});

it('without a changeset nothing moves', () => {
  using copy = new WorkspaceCopy();
  copy.releaseAll('1.2.3');
  copy.version();
  expect(copy.versions()).toEqual(but('1.2.3', {}));
});

it('packages name one another by the caret range of the version beside them', () => {
  using copy = new WorkspaceCopy();
  for (const { name, dependencies = {}, peerDependencies = {} } of copy.manifests().values()) {
    const ranges = Object.entries({ ...dependencies, ...peerDependencies });
    const ours = ranges.filter(([other]) => other.startsWith('@liveupdate/'));
    expect([name, ...ours.map(([, range]) => range)]).toEqual([name, ...ours.map(() => 'workspace:^')]);
  }
});
