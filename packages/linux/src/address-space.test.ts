/** The process that holds an old address space over exec: what it holds, what it does not, and that it ends. */
import { describe, expect, test } from 'vitest';
import { collectKeeper, TAKES_DOWN_BESIDE } from './address-space.ts';
import { runChild } from './test-child.ts';

/** A program that replaces itself once; `before` runs in the old one, `after` in the new one. */
function replaced(before: string, after: string): string {
  const code = `
    import * as fs from 'node:fs';
    import * as net from 'node:net';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { nodeArgs } from './src/test-child.ts';
    import { collectKeeper, MappedRam, replaceProcess, tryLock } from './src/index.ts';
    const children = () => fs.readFileSync('/proc/self/task/' + process.pid + '/children', 'latin1').trim().split(' ').filter(Boolean);
    const env = { ...process.env };
    if (env.AGAIN === undefined) {
      const ram = MappedRam.anonymous({ name: 'liveupdate-test-beside', size: 64 * 2 ** 20 });
      ram.bytes(0, ram.size).fill(1);
      ${before}
      replaceProcess({
        args: [process.execPath, ...nodeArgs(env.CHILD_CODE)],
        env: { ...env, AGAIN: 'yes' },
        takeDownBeside: 3000,
      });
    } else {
      ${after}
    }`;
  const { stdout, stderr } = runChild(code, { CHILD_CODE: code });
  expect(stderr).toBe('');
  return stdout;
}

describe.skipIf(!TAKES_DOWN_BESIDE)('an address space that is taken down beside the new program', () => {
  test('is held with its RAM, without descriptors, until its keeper ends and is collected', () => {
    const stdout = replaced(
      '',
      `const [keeper] = children();
      const maps = fs.readFileSync('/proc/' + keeper + '/maps', 'latin1');
      console.log(maps.includes('liveupdate-test-beside'), fs.readdirSync('/proc/' + keeper + '/fd').length);
      console.log(fs.readFileSync('/proc/self/maps', 'latin1').includes('liveupdate-test-beside'));
      collectKeeper();
      console.log(Object.keys(process.env).some((name) => name.includes('KEEPER')));
      for (let i = 0; i < 100 && children().length > 0; i++) await sleep(100);
      console.log(children().length);`,
    );
    expect(stdout).toBe('true 0\nfalse\nfalse\n0\n');
  });

  test('lets go of ports and locks at once', () => {
    const stdout = replaced(
      `const server = net.createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      env.PORT = String(server.address().port);
      env.LOCKED = '/dev/shm/liveupdate-test-beside-' + process.pid;
      const locked = MappedRam.create({ path: env.LOCKED, size: 8192 });
      tryLock(locked.fd);`,
      `const locked = MappedRam.open({ path: env.LOCKED });
      console.log(children().length, tryLock(locked.fd));
      MappedRam.remove(env.LOCKED);
      const server = net.createServer().listen(Number(env.PORT), '127.0.0.1');
      server.once('listening', () => { console.log('listening'); server.close(); });`,
    );
    expect(stdout).toBe('1 true\nlistening\n');
  });
});

test.each([[{}], [{ LIVEUPDATE_ADDRESS_SPACE_KEEPER: '-1' }], [{ LIVEUPDATE_ADDRESS_SPACE_KEEPER: 'x' }]])(
  'nothing to collect: %j',
  (env: NodeJS.ProcessEnv) => {
    collectKeeper(env);
    expect(env).toEqual({});
  },
);
