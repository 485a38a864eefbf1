/**
 * Generations of one machine, one after the other in this process: a file is preserved, taken back, preserved again, handed over, and retrieved
 * by the next kernel on the same RAM. The engine has compiled everything after a few rounds, so this is the work itself.
 */
import { bootKernel, type Kernel } from '@liveupdate/kexec';
import { MappedRam } from '@liveupdate/linux';
import { ShmemFile } from '@liveupdate/shmem';
import { copy, timed } from './baselines.ts';
import { fillFile, touchFile } from './fill-file.ts';
import { ramSizeFor } from './machine-size.ts';
import type { Trial } from './runner.ts';

const SESSION = 'bench';
const TOKEN = 1;

/** @param huge whether the file has folios of 2 MiB, or of 4 KiB */
export function generations(huge: boolean): Trial['prepare'] {
  return ({ size }) => {
    const ram = MappedRam.anonymous({ name: 'liveupdate-bench', size: ramSizeFor(size) });
    const target = MappedRam.anonymous({ name: 'liveupdate-bench-copy', size });
    target.populate(0, size);
    let kernel: Kernel = bootKernel(ram, undefined, { freeMemory: 'zero' });
    let file = kernel.shmem.memfdCreate('bench');
    if (huge) file.adviseHuge();
    fillFile(file, size);

    const copyOnce = (): Promise<number> => {
      touchFile(file);
      using mapped = file.map();
      return timed(() => {
        copy(target.bytes(0, size), mapped.bytes);
      });
    };
    const handOver = async (): Promise<Record<string, number>> => {
      const session = kernel.luo.createSession(SESSION);
      const preserve = await timed(() => session.preserve(file, TOKEN));
      const unpreserve = await timed(() => session.unpreserve(TOKEN));
      await session.preserve(file, TOKEN);
      await kernel.luo.reboot();
      const { entry } = kernel.kho;
      const boot = await timed(() => {
        kernel = bootKernel(ram, entry);
        kernel.commit();
      });
      const incoming = kernel.luo.retrieveSession(SESSION);
      const retrieve = await timed(async () => {
        file = await incoming.retrieve(TOKEN, ShmemFile);
      });
      await incoming.finish();
      return { preserve, unpreserve, boot, retrieve };
    };
    return {
      run: async (round) => {
        // In turn, so that neither always finds the caches as the other left them.
        if (round % 2 === 0) return { copy: await copyOnce(), ...(await handOver()) };
        return { ...(await handOver()), copy: await copyOnce() };
      },
      end: () => {
        target.close();
        ram.close();
      },
    };
  };
}
