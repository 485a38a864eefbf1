/**
 * Generations on a RAM in an ArrayBuffer, booted and ended as a machine does, for tests that look
 * at memory after every store: and what a next owner finds in it.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { HeapRam, INCOMING_HEAD } from '@liveupdate/mm';
import { ShmemFile } from '@liveupdate/shmem';
import { readBootPage, type BootPage } from './boot-page.ts';
import { ExecFdStore } from './exec-fd-store.ts';
import { bootGeneration, type Generation } from './generation.ts';
import type { MachineOptions } from './machine-options.ts';
import type { TenureRam } from './tenure.ts';

/** A HeapRam that says what a tenure wants to know. */
export class TestRam extends HeapRam implements TenureRam {
  readonly fd = -1;

  *dropPageTables(): Generator<undefined, void> {}

  /** All of it. */
  get memory8(): Uint8Array {
    return this.bytes(0, this.size);
  }

  static of(image: Uint8Array): TestRam {
    const ram = new TestRam(image.length);
    ram.memory8.set(image);
    return ram;
  }
}

function pageOf(ram: TestRam): BootPage | undefined {
  const first = ram.bytes(0, PAGE_SIZE);
  return first.some((byte) => byte !== 0) ? readBootPage(first, ram.size) : undefined;
}

/** Boots whoever comes next. It is no owner yet, unless the RAM is new. */
export function bootNext(
  ram: TestRam,
  options: MachineOptions = {},
  confinedTo?: readonly number[],
): Generation {
  const fds = new ExecFdStore([]);
  const before = pageOf(ram);
  return bootGeneration(
    { ram, path: undefined, as: undefined, fds, before },
    { freeMemory: before ? 'keep' : 'zero', ...options },
    confinedTo,
  );
}

/** Seals a handover: the next boot goes on from it. */
export async function handOver({ tenure }: Generation): Promise<void> {
  tenure.begin();
  await tenure.seal(1n, 2n, { isExec: true, dropUnfinished: false });
}

/**
 * What a next owner finds: sessions in order, `name: token=content, …`. Content is the first byte
 * of a file and its size in pages; `!` where its pages are not all alike.
 */
export async function find(ram: TestRam): Promise<string> {
  const next = bootNext(ram);
  const found = await describeIncoming(next);
  next.kernel.pages.assertConsistent();
  return found;
}

export async function describeIncoming({ kernel }: Generation): Promise<string> {
  const sessions: string[] = [];
  for (const session of kernel.luo.incomingSessions) {
    const files: string[] = [];
    for (const { token } of session.files) {
      const file = await session.retrieve(token, ShmemFile);
      files.push(`${token}=${contentOf(file)}`);
    }
    sessions.push(`${session.name}: ${files.join(', ')}`);
  }
  return sessions.sort().join('; ');
}

export function contentOf(file: ShmemFile): string {
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  const alike = Buffer.compare(bytes.subarray(1), bytes.subarray(0, -1)) === 0; // each as the next
  return `${bytes.length === 0 ? 'empty' : bytes[0]}x${Math.ceil(file.size / PAGE_SIZE)}${alike ? '' : '!'}`;
}

/** Frames that the generation before left and that nobody took over. */
export function untakenFrames({ kernel }: Generation): number {
  const { table } = kernel.pages;
  let count = 0;
  for (let pfn = 0; pfn < table.frames; pfn++) if (table.kindOf(pfn) === INCOMING_HEAD) count += 1;
  return count;
}
