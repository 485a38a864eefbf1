/**
 * A service whose memory outlives the replacement of the kernel: a machine of ours, in a memfd that
 * Linux preserves. Through the first kexec it is handed over, through the second it is not: there
 * it is at work when the kernel goes, and is recovered.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { codeOf, fillRandom, PAGE_SIZE } from '@liveupdate/base';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { Machine } from '@liveupdate/kexec';
import { duplicateFrom, Memfd, rebootByKexec } from '@liveupdate/linux';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, ShmemFile } from '@liveupdate/shmem';
import { loadNextKernel } from './replace-kernel.ts';
import { report, SHARE } from './report.ts';

const { GUEST_SEED = '1', GUEST_STAGE = '1' } = process.env;
const MiB = 2 ** 20;
const STATE = 512 * MiB;
const RAM = STATE + 64 * MiB;
const SESSION = 'service';
const MEMORY = 1n;
const stage = Number(GUEST_STAGE);

/** The memory: made in the first kernel, retrieved from the one before in the others. */
function memory(): Memfd {
  if (stage === 1) {
    const made = Memfd.create('service', 0);
    made.truncate(RAM);
    return made;
  }
  using device = openDevice();
  using session = device.retrieveSession(SESSION);
  const fd = session.retrieveFd(MEMORY);
  session.finish();
  return Memfd.of(fd);
}

/** The state of the service: 512 MiB, and how often it has done something. */
async function openState(machine: Machine): Promise<{ state: ShmemFile; count: ShmemFile }> {
  const { luo, shmem } = machine.kernel;
  if (machine.origin === 'cold') {
    const state = shmem.memfdCreate('state');
    const words = new Uint32Array(MiB / 4);
    let seed = Number(GUEST_SEED);
    for (let at = 0; at < STATE; at += MiB) {
      for (let page = 0; page < MiB; page += PAGE_SIZE)
        seed = fillRandom(words.subarray(page / 4, page / 4 + 16), seed);
      state.pwrite(new Uint8Array(words.buffer), at);
    }
    const count = shmem.memfdCreate('count');
    count.truncate(8);
    return { state, count };
  }
  const session = luo.retrieveSession('state');
  const state = await session.retrieve(1, ShmemFile);
  const count = await session.retrieve(2, ShmemFile);
  await session.finish();
  return { state, count };
}

function hashOf(file: ShmemFile): string {
  const hash = createHash('blake2b512');
  const part = new Uint8Array(MiB);
  for (let at = 0; at < file.size; at += MiB) hash.update(part.subarray(0, file.pread(part, at)));
  return hash.digest('hex');
}

/** Frames of physical memory that the file has, by its pages. */
function framesOf(file: Memfd): BigUint64Array {
  const { ino } = fs.fstatSync(file.fd);
  const mapping = file.map();
  let sum = 0;
  for (let at = 0; at < RAM; at += PAGE_SIZE) sum += mapping.bytes[at]; // else they cannot be seen
  report('touched', { sum });
  const frames = new BigUint64Array(RAM / PAGE_SIZE);
  const pagemap = fs.openSync('/proc/self/pagemap', 'r');
  for (const line of fs.readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [range = '', rights = '', offset = '', , inode = ''] = line.split(/\s+/);
    if (Number(inode) !== ino || !rights.endsWith('s')) continue;
    const [from, to] = range.split('-').map((text) => Number.parseInt(text, 16));
    const entries = new BigUint64Array((to - from) / PAGE_SIZE);
    fs.readSync(pagemap, entries, 0, entries.byteLength, (from / PAGE_SIZE) * 8);
    const first = Number.parseInt(offset, 16) / PAGE_SIZE;
    entries.forEach((entry, i) => {
      if ((entry & (1n << 63n)) !== 0n) frames[first + i] = entry & ((1n << 55n) - 1n);
    });
  }
  fs.closeSync(pagemap);
  mapping.unmap();
  return frames;
}

/** What giving a page of a preserved memfd back answers. */
function punched(file: Memfd): string {
  try {
    file.fallocate(FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, RAM - PAGE_SIZE, PAGE_SIZE);
    return 'ok';
  } catch (error) {
    return codeOf(error);
  }
}

const ram = memory();
const framesFile = `${SHARE}/frames`;
let same = 0;
let moved = 0;
if (stage > 1) {
  const bytes = fs.readFileSync(framesFile);
  const before = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  const now = framesOf(ram);
  before.forEach((frame, i) => {
    if (frame === now[i]) same += 1;
    else moved += 1;
  });
}
const machine = await Machine.open({ fd: duplicateFrom(ram.fd, 3), size: RAM });
const { state, count } = await openState(machine);
const counter = new BigUint64Array(count.map().bytes.buffer, 0, 1);
const found = counter[0];
const hash = hashOf(state);
report('serving', { stage, origin: machine.origin, count: Number(found), hash, same, moved });

const session = machine.kernel.luo.createSession('state');
await session.preserve(state, 1);
await session.preserve(count, 2);
for (let i = 0; i < 1000; i++) counter[0] += 1n;

if (stage < 3) {
  if (stage === 1) await machine.handOver(); // else it is at work when the kernel goes
  const held: DeviceSession[] = [];
  using device = openDevice();
  const outgoing = device.createSession(SESSION);
  const blocks = ram.stat().blocks;
  outgoing.preserveFd(ram.fd, MEMORY);
  const holes = { before: blocks, after: ram.stat().blocks, punch: punched(ram) };
  report('preserved', holes);
  held.push(outgoing);
  // Linux has moved what lay in its scratch memory: from here on nothing moves.
  fs.writeFileSync(framesFile, Buffer.from(framesOf(ram).buffer));
  loadNextKernel({ GUEST_STAGE: stage + 1 });
  if (stage === 2) counter[0] += 7n; // preserved memory is still written
  report('replacing');
  rebootByKexec();
}
