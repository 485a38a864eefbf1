/**
 * A handler whose callbacks take turns of the event loop: what is published meanwhile is nothing of
 * the change that it is part of, which is found whole or not at all.
 */
import { expect, it, onTestFinished } from 'vitest';
import { Program, removeRam, testName } from './test-process.ts';

/** Notes are numbers in a block of KHO; one is killed in the last turn of its callback. */
const OPENS = `
import { memfdHandler } from '@liveupdate/memfd-handler';
const turn = () => new Promise((resolve) => setImmediate(resolve));
let deadly = '';
const last = async (callback) => {
  await turn();
  await turn();
  if (deadly === callback) process.kill(process.pid, 'SIGKILL');
};
const noteHandler = (kho) => ({
  compatible: 'note-v1',
  canPreserve: (file) => typeof file.note === 'number',
  preserve: async ({ file }) => {
    const block = kho.allocPreserve(8);
    block.setU64({ at: 0, bytes: 8 }, BigInt(file.note));
    await last('preserve');
    return { data: BigInt(block.pa) };
  },
  unpreserve: async ({ data }) => {
    kho.unpreserveFree(Number(data));
    await last('unpreserve');
  },
  retrieve: ({ data }) => ({ note: Number(kho.recordAt(data).getU64({ at: 0, bytes: 8 })) }),
  finish: () => undefined,
});
const handlers = ({ kho, shmem }) => [memfdHandler({ kho, shmem }), noteHandler(kho)];
const machine = await Machine.open({ name: NAME, size: '8MiB', handlers });
const { luo, shmem, pages } = machine.kernel;
`;

const FIRST = `${OPENS}
const file = shmem.memfdCreate('f');
file.write(new Uint8Array(9));
await luo.createSession('old').preserve(file, 1);
await machine.handOver();
`;

const SECOND = `${OPENS}
await turn();
const session = luo.createSession('new');
const file = shmem.memfdCreate('f');
file.write(new Uint8Array(5));
await session.preserve({ note: 5 }, 1);
await session.preserve(file, 2);
`;

const LAST = `${OPENS}
pages.assertConsistent();
for (const { name } of luo.incomingSessions) {
  const session = luo.retrieveSession(name);
  const found = [];
  for (const { token } of session.files) {
    const file = await session.retrieve(token);
    found.push(token + '=' + (file.note ?? file.size));
  }
  say(name, ...found);
}
machine.remove();
`;

const FINISH = "await luo.retrieveSession('old').finish();";
const CREATE = "setImmediate(() => luo.createSession('between'));";
const UNPRESERVE = "deadly = 'unpreserve'; await session.unpreserve(1);";
const CLOSE = "deadly = 'unpreserve'; await session.close();";
const PRESERVE = "deadly = 'preserve'; await session.preserve({ note: 6 }, 3);";

it.each([
  ['a finish, then unpreserve', FINISH + UNPRESERVE, 'old 1=9'],
  ['a finish, then close', FINISH + CLOSE, 'old 1=9'],
  ['a finish, then preserve', FINISH + PRESERVE, 'old 1=9'],
  ['a new session in unpreserve', CREATE + UNPRESERVE, 'between'],
  ['a new session in close', CREATE + CLOSE, 'between'],
  ['a new session in preserve', CREATE + PRESERVE, 'between'],
])('%s, which is killed: all is as before', (_, code, other) => {
  const name = testName();
  onTestFinished(() => {
    removeRam(name);
  });
  using first = new Program(FIRST);
  using second = new Program(SECOND + code);
  using last = new Program(LAST);
  expect(first.run(name).status).toBe(0);
  expect(second.run(name).signal).toBe('SIGKILL');
  const { lines, stderr } = last.run(name);
  expect(stderr).toBe('');
  expect(lines).toContain('new 1=5 2=5');
  expect(lines).toContain(other);
});
