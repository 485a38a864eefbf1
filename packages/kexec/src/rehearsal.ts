/**
 * A takeover, tried out: on a private copy of a RAM as it is now, a kernel is booted as after a
 * death, its files are retrieved and mapped, preserved again, handed over and booted once more.
 * Nobody sees anything of it, and whoever owns the RAM goes on.
 *
 * It tells whether this program can take over what is there, and which views it will want.
 *
 * Only files of the memfd handler are retrieved: what others do at a retrieve may reach further
 * than memory.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { PrivateRam, type RamFile } from '@liveupdate/linux';
import { MEMFD_V1, MEMFD_V2 } from '@liveupdate/memfd-handler';
import type { RamPiece, ViewOptions } from '@liveupdate/mm';
import { ShmemFile } from '@liveupdate/shmem';
import { readBootPage, type BootPage } from './boot-page.ts';
import { bootKernel, type Kernel } from './kernel.ts';
import { kernelOptions, type MachineOptions } from './machine-options.ts';

/** A view that the program will want. */
interface WantedView {
  readonly pieces: readonly RamPiece[];
  readonly options: ViewOptions;
}

/** What a takeover will want. */
export interface Wanted {
  readonly views: readonly WantedView[];
  /** Addresses of memory, one in each window through which it is seen. */
  readonly windows: readonly number[];
}

/** How often it is tried: the owner may be in the midst of a change. */
const MOST_TRIES = 4;

/**
 * @returns what is wanted of memory
 * @throws KernelError ENOENT: no handler for a file that is there. EAGAIN: the owner changes it all
 * the time. EINVAL, EFAULT, ENOMEM: it cannot be booted from
 */
export async function rehearse(file: RamFile, options: MachineOptions): Promise<Wanted> {
  for (let tries = 1; ; tries++) {
    const before = pageOf(file);
    try {
      return await rehearseOnce(file, before, options);
    } catch (error) {
      if (!(error instanceof KernelError) || tries === MOST_TRIES) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 2 ** tries));
  }
}

function pageOf(file: RamFile): BootPage {
  return readBootPage(file.firstPage(), file.size);
}

async function rehearseOnce(
  file: RamFile,
  { state, entry, live, liveChange, ramSize }: BootPage,
  options: MachineOptions,
): Promise<Wanted> {
  if (state === 'empty') return { views: [], windows: [] };
  const ram = new PrivateRam(file, ramSize);
  const kernels: Kernel[] = [];
  const boot = (from: Parameters<typeof bootKernel>[1]): Kernel => {
    const kernel = bootKernel(ram, from, { ...kernelOptions(options), freeMemory: 'keep', publish: true });
    kernels.push(kernel);
    return kernel;
  };
  try {
    const views: WantedView[] = [];
    ram.onView = (pieces, wanted) => views.push({ pieces, options: wanted });
    const change = liveChange === 0 ? undefined : liveChange;
    const first = boot({ live, liveChange: change, entry: state === 'handed-over' ? entry : undefined });
    first.kho.publication?.settle();
    first.commit();
    await retrieveAll(first, true);
    ram.onView = undefined;
    await first.luo.reboot({ dropUnfinished: true });
    const second = boot({ live, liveChange: first.kho.publication?.seal(), entry: first.kho.entry });
    await retrieveAll(second, false);
    return { views, windows: ram.opened };
  } finally {
    for (const kernel of kernels) kernel.end();
    ram.close();
  }
}

/** What a program does with what it finds. */
async function retrieveAll({ luo }: Kernel, preserves: boolean): Promise<void> {
  for (const session of luo.incomingSessions) {
    const files: { file: ShmemFile; token: bigint }[] = [];
    for (const { token, compatible } of session.files) {
      if (compatible !== MEMFD_V1 && compatible !== MEMFD_V2) continue;
      const file = await session.retrieve(token, ShmemFile);
      if (file.size >= PAGE_SIZE) file.map();
      files.push({ file, token });
    }
    if (!preserves || files.length === 0) continue;
    const next = luo.createSession(session.name);
    for (const { file, token } of files) await next.preserve(file, token);
    if (files.length === session.files.length) await session.finish();
  }
}
