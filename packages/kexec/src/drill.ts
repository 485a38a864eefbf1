/**
 * Handovers to a standby on memory of its own, so that the next real one of this process finds its
 * code compiled: the first call of much of it takes a millisecond.
 */
import { checkFunction } from '@liveupdate/base';
import { duplicateFrom, RamFile } from '@liveupdate/linux';
import { ShmemFile } from '@liveupdate/shmem';
import { Machine } from './machine.ts';

/** After so many handovers the code is as quick as it gets. */
const HANDOVERS = 12;
const SIZE = 4 * 2 ** 20;
const FILE_SIZE = 2 ** 20;

/**
 * Hands over some times, 1 to 3 ms at a time: for when a handover is about to come.
 *
 * @param visit what is done in each generation, the first of which boots cold; it commits, and
 * preserves what it wants. Default: one file goes along
 * @throws KernelError ENOMEM, EMFILE: no memory, or too many open files. EINVAL: no function. What
 * `visit` throws
 */
export async function drill(visit: (machine: Machine) => Promise<void> = carryOneFile): Promise<void> {
  checkFunction(visit, 'what is done in a drill');
  using memory = RamFile.memory({ name: 'liveupdate-drill', size: SIZE });
  const again = (): { fd: number } => ({ fd: duplicateFrom(memory.fd, 0) });
  let machine = await Machine.open(again());
  await turn();
  try {
    for (let done = 0; done < HANDOVERS; done++) {
      await visit(machine);
      await turn();
      const standby = await Machine.arm(again(), false);
      await turn();
      const sealed = await machine.seal();
      await turn();
      const next = standby.take(sealed);
      await turn();
      machine.close();
      machine = next;
      await turn();
    }
  } finally {
    machine.close();
  }
}

/** What else this process does has its turn: the first call of each step takes milliseconds. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Makes a file, or takes it over. */
async function carryOneFile(machine: Machine): Promise<void> {
  const { shmem, luo } = machine.kernel;
  const session = machine.origin === 'cold' ? undefined : luo.incomingSessions[0];
  const file = session ? await session.retrieve(1, ShmemFile) : shmem.memfdCreate('drill');
  if (!session) file.write(new Uint8Array(FILE_SIZE));
  file.map();
  machine.commit();
  await luo.createSession('drill').preserve(file, 1);
  await session?.finish();
}
