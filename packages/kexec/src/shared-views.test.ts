/**
 * Worker threads that share a file with the main thread, while it is preserved, handed over and
 * taken down.
 */
import { expect, onTestFinished, test } from 'vitest';
import { Program, removeRam, testName } from './test-process.ts';

/**
 * `start()` gives a worker that counts in the file, and tells how often when it is stopped or the
 * view is gone.
 */
const WORKERS = `
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
const COUNT = \`
  import { parentPort, workerData } from 'node:worker_threads';
  import { openSharedView } from '@liveupdate/linux';
  const { shared, stop, slot } = workerData;
  const view = openSharedView(shared);
  const counters = new Int32Array(view.bytes.buffer), stopped = new Int32Array(stop);
  let counted = 0;
  parentPort.postMessage('ready');
  while (view.isLive && Atomics.load(stopped, 0) === 0) {
    Atomics.add(counters, 0, 1);
    Atomics.add(counters, slot, 1);
    counted += 1;
    for (let seen; Atomics.compareExchange(counters, 5, seen = Atomics.load(counters, 5), seen + 1) !== seen;);
  }
  parentPort.postMessage({ counted, isLive: view.isLive, length: view.bytes.length });
  while (Atomics.load(stopped, 0) < 2) counters[0] = 12345; // goes on for ever where nobody stops it
\`;
async function start(mapping, { readOnly = false } = {}) {
  const stop = new SharedArrayBuffer(4);
  const workers = [];
  for (let slot = 1; slot <= 4; slot++) {
    const worker = new Worker(COUNT_FILE, { workerData: { shared: mapping.share({ readOnly }), stop, slot } });
    const ready = once(worker, 'message');
    workers.push({ worker, ready });
  }
  for (const { ready } of workers) await ready;
  const results = Promise.all(workers.map(async ({ worker }) => (await once(worker, 'message'))[0]));
  const end = () => Promise.all(workers.map(({ worker }) => worker.terminate()));
  return { stop: new Int32Array(stop), results, end };
}
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

/** A worker is a file beside the program, so that its imports resolve. */
const FILES = `
import { writeFileSync, rmSync } from 'node:fs';
const COUNT_FILE = new URL('./worker-' + process.pid + '.mjs', import.meta.url);
`;

/** The file is preserved while four workers count in it; then the body. */
function program(body: string): string {
  return `${FILES}${WORKERS}
    writeFileSync(COUNT_FILE, COUNT);
    process.once('exit', () => rmSync(COUNT_FILE, { force: true }));
    const machine = await Machine.open({ name: NAME, size: 8 * 2 ** 20, onCrash: 'cold' });
    const { luo, shmem, pages } = machine.kernel;
    const make = () => { const file = shmem.memfdCreate('counters'); file.allocate(0, 4096); return file; };
    const read = (file) => { const bytes = new Int32Array(6); file.pread(new Uint8Array(bytes.buffer), 0); return [...bytes]; };
    const file = make();
    const mapping = file.map();
    ${body}`;
}

async function run(body: string): Promise<string[]> {
  const name = testName();
  using code = new Program(program(body));
  onTestFinished(() => {
    removeRam(name);
  });
  const { lines, status, signal } = await code.runBeside(name);
  expect([status, signal]).toEqual([0, null]);
  return lines;
}

test('four workers count in a file while it is preserved; stopped and handed over, no count is lost', async () => {
  const lines = await run(`
    const { stop, results, end } = await start(mapping);
    const session = luo.createSession('s');
    await session.preserve(file, 1);
    await wait(100);
    Atomics.store(stop, 0, 1);
    const counted = (await results).map((result) => result.counted);
    Atomics.store(stop, 0, 2); // none of them stores anything else
    await end();
    const total = counted.reduce((sum, count) => sum + count);
    const before = read(file);
    await machine.handOver();
    const next = await Machine.open({ name: NAME });
    const after = read(await next.kernel.luo.retrieveSession('s').retrieve(1));
    next.remove();
    say(total > 1000, counted.every((count) => count > 0), mapping.bytes.length);
    say(after[5] === total, JSON.stringify(after.slice(1, 5)) === JSON.stringify(counted));
    say(before[5] === total);`);
  expect(lines).toEqual(['true true 0', 'true true', 'true']);
});

test.each([
  ['unmap()', 'mapping.unmap(); file.close();'],
  ['handOver()', 'await machine.handOver();'],
  ['close()', 'machine.close();'],
])(
  'workers that go on over %s meet memory of nobody: nothing faults, nothing reaches the RAM',
  async (_, end) => {
    const lines = await run(`
    const { results } = await start(mapping);
    const other = make(), session = luo.createSession('s');
    other.write(new Uint8Array(4096).fill(65));
    await session.preserve(other, 1);
    ${end}
    say(mapping.bytes.length);
    // Whose memory it is next: nobody's store comes here.
    const next = machine.isClosed || ${String(end.includes('machine'))} ? await Machine.open({ name: NAME, onCrash: 'cold' }) : machine;
    const files = Array.from({ length: 200 }, () => next.kernel.shmem.memfdCreate('later'));
    for (const later of files) later.write(new Uint8Array(4096).fill(66));
    for (const { isLive, length } of await results) say(isLive, length);
    await wait(50); // they store on
    say(files.every((later) => { const bytes = new Uint8Array(4096); later.pread(bytes, 0); return bytes.every((byte) => byte === 66); }));
    if (${String(end.includes('handOver'))}) {
      const bytes = new Uint8Array(4096);
      (await next.kernel.luo.retrieveSession('s').retrieve(1)).pread(bytes, 0);
      say(bytes.every((byte) => byte === 65));
    }
    next.remove();
    process.exit(0); // while they run`);
    const expected = ['0', ...Array<string>(4).fill('false 4096'), 'true'];
    if (end.includes('handOver')) expected.push('true');
    expect(lines).toEqual(expected);
  },
);

test('read-only: stores reach nobody; one worker is terminated, one opens late; after unmap it is EBADF', async () => {
  const lines = await run(`
    mapping.bytes[4] = 7;
    const shared = mapping.share();
    const { stop, results, end } = await start(mapping, { readOnly: true });
    await wait(20);
    Atomics.store(stop, 0, 1);
    say((await results).every(({ counted }) => counted > 0), JSON.stringify(read(file)));
    await end(); // in the midst of its work
    mapping.unmap();
    try { mapping.share(); } catch (error) { say(codeOf(error)); }
    const late = new Worker(COUNT_FILE, { workerData: { shared, stop: new SharedArrayBuffer(4), slot: 1 } });
    const messages = [];
    late.on('message', (message) => messages.push(message));
    while (messages.length < 2) await wait(5);
    say(messages[1].counted, messages[1].isLive, messages[1].length, JSON.stringify(read(file)));
    await late.terminate();
    machine.remove();`);
  expect(lines).toEqual(['true [0,7,0,0,0,0]', 'EBADF', '0 false 4096 [0,7,0,0,0,0]']);
});

test('Atomics.wait and notify work on the word that comes with the view', async () => {
  const lines = await run(`
    const { live } = mapping.share();
    const waits = Atomics.waitAsync(new Int32Array(live), 0, 1).value;
    mapping.unmap();
    say(await waits);
    const own = file.map();
    try { Atomics.wait(new Int32Array(own.bytes.buffer), 0, 0, 1); } catch (error) { say(error.name); }
    say(Atomics.notify(new Int32Array(own.bytes.buffer), 0));
    machine.remove();`);
  expect(lines).toEqual(['ok', 'TypeError', '0']);
});
