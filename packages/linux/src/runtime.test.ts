import { expect, test } from 'vitest';
import { checkRuntime, whyUnsupported } from './runtime.ts';

const on = (versions: Record<string, string>, platform = 'linux', arch = 'x64') =>
  whyUnsupported({ platform, arch, versions });

test.each(['22.15.0', '22.22.1', '23.11.0', '24.0.0', '24.21.0', '26.1.0', '100.0.0'])(
  'Node.js %s can',
  (node) => {
    expect(on({ node })).toBeUndefined();
    expect(on({ node }, 'linux', 'arm64')).toBeUndefined();
  },
);

test.each(['18.20.8', '20.20.0', '21.7.3', '22.14.0', '23.0.0', '23.10.0'])('Node.js %s cannot', (node) => {
  expect(on({ node })).toBe(
    `mapped memory needs Node.js 22.15, 23.11 or newer, this is Node.js ${node}: start it with such a Node.js`,
  );
});

test.each([
  ['Deno 2.9.6', { node: '24.2.0', deno: '2.9.6' }],
  ['Bun 1.4.5', { node: '24.3.0', bun: '1.4.5' }],
])('%s cannot, whichever Node.js it says it is', (name, versions) => {
  expect(on(versions)).toContain(`this is ${name}:`);
});

test.each([
  ['darwin', 'arm64'],
  ['linux', 'ia32'],
])('%s on %s cannot', (platform, arch) => {
  expect(on({ node: '24.21.0' }, platform, arch)).toContain(`this is ${platform} on ${arch}:`);
});

test('this one can', () => {
  checkRuntime();
});
