/**
 * Preserves memfds of random content, tells the host what they are, waits for its word and replaces
 * the kernel. The kernel after that does nothing.
 */
import * as fs from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fillRandom, PAGE_SIZE, Prng } from '@liveupdate/base';
import { openDevice, type DeviceSession } from '@liveupdate/device';
import { Memfd, rebootByKexec } from '@liveupdate/linux';
import { lookAt, type KeptFile, type KeptSession } from './kept.ts';
import { loadNextKernel } from './replace-kernel.ts';
import { report, SHARE } from './report.ts';

const { GUEST_SEED = '', GUEST_FILES = '', GUEST_STAGE } = process.env;
const MFD_ALLOW_SEALING = 2;
/** What may be carried: SEAL, SHRINK, GROW, WRITE, FUTURE_WRITE, EXEC. */
const SEALS = 0x3f;
const F_SEAL_SEAL = 1;
const MiB = 2 ** 20;
const HUGE = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';

if (GUEST_STAGE === undefined) await give();
else {
  report('next');
  await pause(2 ** 31 - 1);
}

async function give(): Promise<void> {
  const random = new Prng(Number(GUEST_SEED));
  const held: DeviceSession[] = []; // they live as long as this process
  const kept: KeptSession[] = [];
  {
    using device = openDevice();
    const count = 2 + random.below(5);
    for (let i = 0; i < count; i++) {
      const name = `given ${i}`;
      const session = device.createSession(name);
      held.push(session);
      const files: KeptFile[] = [];
      for (let k = 0; k < Math.ceil(Number(GUEST_FILES) / count); k++) {
        using file = randomFile(random, k);
        const token = (BigInt(random.below(2)) << 63n) + BigInt(1 + k);
        session.preserveFd(file.fd, token);
        files.push(lookAt(file.fd, `${token}`));
      }
      kept.push({ name, files });
    }
  }
  fs.writeFileSync(`${SHARE}/expected.json`, JSON.stringify(kept));
  loadNextKernel({ GUEST_STAGE: 2 });
  report('preserved');
  while (!fs.existsSync(`${SHARE}/go`)) await pause(20);
  rebootByKexec();
}

/** A file of a kind that `i` chooses. */
function randomFile(random: Prng, i: number): Memfd {
  fs.writeFileSync(HUGE, i % 5 === 2 ? 'always' : 'never');
  const file = Memfd.create(`given ${i}`, MFD_ALLOW_SEALING);
  const write = (length: number, at: number): void => {
    const words = new Uint32Array(Math.ceil(length / 4));
    fillRandom(words, 1 + random.below(2 ** 31 - 2));
    file.write([new Uint8Array(words.buffer, 0, length)], at);
  };
  switch (i % 5) {
    case 0:
      write(1 + random.below(PAGE_SIZE), 0);
      break;
    case 1:
      write(1 + random.below(60 * PAGE_SIZE), 0);
      break;
    case 2: // in 2 MiB folios
      write(2 * MiB * (1 + random.below(3)), 0);
      break;
    case 3: // holes
      for (let k = random.below(4); k >= 0; k--) write(1 + random.below(2 * PAGE_SIZE), random.below(MiB));
      file.truncate(file.stat().size + random.below(MiB));
      break;
    default: // nothing, or one hole
      if (random.below(2) === 0) file.truncate(random.below(MiB));
  }
  file.seek(random.below(file.stat().size + PAGE_SIZE), 0);
  if (random.below(2) === 0) {
    const seals = random.below(SEALS + 1);
    file.addSeals(seals & ~F_SEAL_SEAL);
    if ((seals & F_SEAL_SEAL) !== 0) file.addSeals(F_SEAL_SEAL);
  }
  return file;
}
