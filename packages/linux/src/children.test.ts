/**
 * Real children of programs that replace themselves: whose they are, and that none is left a
 * zombie.
 */
import { spawn } from 'node:child_process';
import { expect, onTestFinished, test } from 'vitest';
import { collectChildren, listed, scanned } from './children.ts';
import { runChild } from './test-child.ts';

/** A program of three generations: what each does, with `children()` telling pids and states. */
function generations(...bodies: string[]): string[] {
  const code = `
    import * as fs from 'node:fs';
    import { spawn } from 'node:child_process';
    import { once } from 'node:events';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { nodeArgs } from './src/test-child.ts';
    import { collectChild, collectChildren, collectOrphans, replaceProcess } from './src/index.ts';
    const stat = (pid) => fs.readFileSync('/proc/' + pid + '/stat', 'latin1').replace(/^.*\\) /, '').split(' ');
    const children = () => fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).filter((pid) => {
      try { return stat(pid)[1] === String(process.pid); } catch { return false; }
    });
    const sleeper = (seconds) => spawn('sleep', [String(seconds)], { stdio: 'ignore' });
    const none = async () => {
      for (let i = 0; i < 600 && children().length > 0; i++) await sleep(50);
      return children().length;
    };
    const turn = Number(process.env.TURN ?? 0);
    const say = (...words) => console.log(turn, ...words);
    await [${bodies.map((body) => `async () => { ${body} }`).join(',\n')}][turn]();
    if (turn < ${bodies.length - 1}) {
      const args = [process.execPath, ...nodeArgs(process.env.CHILD_CODE)];
      replaceProcess({ args, env: { ...process.env, TURN: String(turn + 1) } });
    }`;
  const { stdout, stderr } = runChild(code, { CHILD_CODE: code });
  expect(stderr).toBe('');
  return stdout.trim().split('\n');
}

test('each child is collected by the generation that runs when it ends', () => {
  const lines = generations(
    `for (let i = 0; i < 20; i++) sleeper(i < 10 ? 0 : 1000); say(children().length);`,
    `collectChildren();
     say(children().length, Object.keys(process.env).filter((name) => name.includes('REPLACED')).length);
     sleeper(1000);
     const left = children().length;
     while (children().length > 11) await sleep(50);
     say(left, children().length);`,
    `collectChildren(); for (const pid of children()) process.kill(pid); say(await none());`,
  );
  expect(lines).toEqual(['0 20', '1 20 0', '1 21 11', '2 0']);
});

test('children of the new program are left to it: their exit codes arrive', () => {
  const lines = generations(
    `sleeper(0.1);`,
    `const end = '/tmp/liveupdate-test-end-' + process.pid;
     const wait = 'while [ ! -e ' + end + ' ]; do sleep 0.1; done; exit ';
     const all = Array.from({ length: 10 }, (_, i) => spawn('sh', ['-c', wait + i], { stdio: 'ignore' }));
     const mine = all.map((child) => once(child, 'exit'));
     collectChildren();
     await sleep(1200); // it has looked which are to be collected
     await new Promise(setImmediate); // timers come next, before libuv looks
     fs.writeFileSync(end, '');
     // Nothing else runs until all have ended: then it is to be quicker than libuv, if it would.
     while (all.some(({ pid }) => stat(pid)[0] !== 'Z')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
     Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
     fs.rmSync(end);
     say((await Promise.all(mine)).map(([code]) => code).join());
     say(await none());`,
  );
  expect(lines).toEqual([`1 ${Array.from({ length: 10 }, (_, i) => i).join()}`, '1 0']);
});

test('where the kernel has no list of children they are found all the same', () => {
  const pids = Array.from({ length: 3 }, () => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    onTestFinished(() => void child.kill());
    return child.pid;
  });
  const found = scanned(process.pid);
  expect(found).toEqual(expect.arrayContaining(pids));
  const inList = listed(process.pid);
  if (inList) expect(found.toSorted()).toEqual(inList.toSorted());
});

test('a child of the program before is collected by its number, with how it ended', () => {
  const lines = generations(
    `const end = (code) => spawn('sh', ['-c', 'sleep 0.3; exit ' + code], { stdio: 'ignore' }).pid;
     process.env.PIDS = [end(3), end(0), sleeper(1000).pid, sleeper(1000).pid].join();`,
    `const [three, none, killed, left] = process.env.PIDS.split(',').map(Number);
     process.kill(killed, 'SIGTERM');
     const said = [collectChild(left)?.code];
     for (const pid of [three, none, killed]) {
       let end;
       while (!(end = collectChild(pid))) await sleep(20);
       said.push(end.code ?? end.signal);
     }
     const again = collectChild(three);
     process.kill(left);
     say(JSON.stringify(said), again.code === null && again.signal === null);`,
  );
  expect(lines).toEqual(['1 [null,3,0,"SIGTERM"] true']);
});

test('orphans are collected, and those that somebody waits for are not', () => {
  const lines = generations(
    `process.env.PIDS = [sleeper(0.1).pid, sleeper(0.1).pid, sleeper(0.1).pid].join();`,
    `const pids = process.env.PIDS.split(',');
     collectOrphans((pid) => String(pid) === pids[1]);
     while (children().length > 1) await sleep(20);
     await sleep(100);
     say(children().join() === pids[1]);`,
  );
  expect(lines).toEqual(['1 true']);
});

test('it keeps no program alive', () => {
  expect(
    generations(`sleeper(1000);`, `collectChildren(); process.kill(children()[0]); say('end');`),
  ).toEqual(['1 end']);
});

test.each([[{}], [{ LIVEUPDATE_REPLACED_AT: '-1' }], [{ LIVEUPDATE_REPLACED_AT: 'x' }]])(
  'nothing to collect: %j',
  (env: NodeJS.ProcessEnv) => {
    collectChildren(env);
    expect(env).toEqual({});
  },
);
