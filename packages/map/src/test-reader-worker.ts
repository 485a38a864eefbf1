/** A thread that reads a map while another one writes it, and looks at each value. */
import { parentPort, workerData } from 'node:worker_threads';
import { openMapReader } from './open-map.ts';
import { isValueOf } from './test-values.ts';

const { memory, stop } = workerData as { memory: SharedArrayBuffer; stop: Int32Array };
const bytes = new Uint8Array(memory) as unknown as Uint8Array<ArrayBuffer>;
const map = openMapReader({ bytes });
const keys = ['always', ...Array.from({ length: 300 }, (_, i) => `key ${i}`)];
const wrong: string[] = [];
let found = 0;
let scans = 0;
parentPort?.postMessage('reading');
for (let i = 0; Atomics.load(stop, 0) === 0 && wrong.length < 5; i++) {
  const key = i % 3 === 0 ? keys[i % keys.length] : 'always';
  const value = i % 2 === 0 ? map.get(key) : map.read(key, (view) => new TextDecoder().decode(view.slice()));
  if (value !== undefined && !isValueOf(key, value)) wrong.push(`${key}: ${value}`);
  if (value === undefined && key === 'always') wrong.push('a key that is always there was not');
  if (value !== undefined) found += 1;
  if (i % 5000 !== 0) continue;
  scans += 1;
  const seen = [...map.keys()].filter((each) => each === 'always').length;
  if (seen !== 1) wrong.push(`a key that is always there came ${seen} times`);
}
parentPort?.postMessage({ wrong, found, scans });
