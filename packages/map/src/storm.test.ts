/**
 * A process that changes a map is killed, again and again, at any moment: each next one finds all
 * that was done, and of the call that was under way all or nothing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { PAGE_SIZE, Prng } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { MappedRam } from '@liveupdate/linux';
import { buildSync } from 'esbuild';
import { expect, it } from 'vitest';
import { openMap } from './open-map.ts';
import { StormModel, timeOf } from './test-storm-operations.ts';

const KILLS = isQuick ? 15 : process.env['LIVEUPDATE_LONG'] === undefined ? 60 : 300;

it(`${KILLS} kills, seed ${seed}`, async () => {
  const folder = fs.mkdtempSync(path.join(import.meta.dirname, '../.storm-'));
  const ramPath = `/dev/shm/liveupdate-map-storm-${process.pid}`;
  const ram = MappedRam.create({ path: ramPath, size: 16 * 2 ** 20 });
  try {
    const worker = path.join(folder, 'worker.mjs');
    buildSync({
      entryPoints: [fileURLToPath(new URL('./test-storm-worker.ts', import.meta.url))],
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node22',
      logLevel: 'error',
      outfile: worker,
      conditions: ['@liveupdate/source'],
      external: ['koffi'],
    });
    const random = new Prng(seed);
    const model = new StormModel(seed);
    let unfinished = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const child = spawn(process.execPath, [worker, ramPath, String(seed)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = once(child, 'exit');
      await Promise.race([
        once(child.stdout, 'data'),
        ended.then(([code]) => expect.fail(`the process ended by itself, with ${code}`)),
      ]);
      await new Promise((resolve) => setTimeout(resolve, random.below(40)));
      child.kill('SIGKILL');
      await ended;
      if (check(ram, model)) unfinished += 1;
    }
    expect(model.done).toBeGreaterThan(KILLS * 10);
    console.log(`${model.done} operations, ${unfinished} of ${KILLS} kills hit one that was under way`);
  } finally {
    ram.close();
    MappedRam.remove(ramPath);
    fs.rmSync(folder, { recursive: true });
  }
});

/**
 * @returns whether the kill came between the end of an operation and the word that says so, which
 * is mended then
 */
function check(ram: MappedRam, model: StormModel): boolean {
  const page = ram.bytes(0, PAGE_SIZE);
  const word = new Int32Array(page.buffer, page.byteOffset, 1);
  const done = word[0];
  const bytes = ram.bytes(PAGE_SIZE, ram.size - PAGE_SIZE).slice();
  model.goOn(done);
  using map = openMap({ bytes }, { now: () => timeOf(done) });
  map.verify();
  const found = new Map<string, string>();
  for (const [key, value] of map) found.set(key, `${value} until ${map.expiry(key)}`);
  const expected = model.content;
  if (isEqual(found, expected)) return false;
  model.goOn(done + 1);
  model.done = done;
  expect(found).toEqual(model.content);
  model.done = done + 1;
  word[0] = done + 1;
  return true;
}

function isEqual(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}
