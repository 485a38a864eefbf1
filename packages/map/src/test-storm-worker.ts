/** Changes a map until it is killed. Page 0 of the RAM has the number of operations done. */
import { PAGE_SIZE } from '@liveupdate/base';
import { MappedRam } from '@liveupdate/linux';
import { openMap } from './open-map.ts';
import { operate, timeOf } from './test-storm-operations.ts';

const [path, seed] = process.argv.slice(2);
const ram = MappedRam.open({ path });
const done = new Int32Array(ram.bytes(0, PAGE_SIZE).buffer, ram.bytes(0, PAGE_SIZE).byteOffset, 1);
const map = openMap({ bytes: ram.bytes(PAGE_SIZE, ram.size - PAGE_SIZE) }, { now: () => timeOf(done[0]) });
const operated = {
  set: (key: string, value: string, expires: number | 'keep') => map.set(key, value, { expires }),
  delete: (key: string) => void map.delete(key),
  increment: (key: string, by: number) => void map.increment(key, by),
  expireAt: (key: string, moment: number) => void map.expireAt(key, moment),
  clear: () => map.clear(),
  compact: () => void map.compact(0.2),
};
process.stdout.write('working\n');
for (;;) {
  operate(operated, Number(seed), done[0]);
  Atomics.store(done, 0, done[0] + 1);
}
