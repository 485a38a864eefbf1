/**
 * A service with one file in memory that is killed and started again. It answers from the file that
 * it retrieves; then it preserves first and finishes second, as a service has to that may be killed
 * at any moment.
 */
import { assert, PAGE_SIZE } from '@liveupdate/base';
import { Machine } from '@liveupdate/kexec';
import { ShmemFile, type ShmemMapping } from '@liveupdate/shmem';
import { argument, now, tellFailures } from './child-side.ts';
import { answerUntilKilled } from './killed-side.ts';
import { makeFiles, middleOf, ramSizeFor, SMALL, touchBytes } from './workload.ts';

const bodyAt = now();
tellFailures();

/** What the service is told. */
export interface KilledServiceArgument {
  /** Of its RAM, on tmpfs. */
  readonly path: string;
  /** Bytes in its file. */
  readonly size: number;
}

void main();

async function main(): Promise<void> {
  const { path, size } = argument() as KilledServiceArgument;
  const machine = await Machine.open({ path, size: ramSizeFor(size) });
  const { luo, shmem } = machine.kernel;
  const isNew = machine.origin === 'cold';
  assert(isNew || machine.origin === 'recovered', 'nobody hands over: the one before was killed');
  const before = isNew ? undefined : luo.retrieveSession('bench');
  const file = before ? await before.retrieve(1, ShmemFile) : makeFiles(shmem, SMALL, size)[0];
  const middle = middleOf(size);
  let mapped: ShmemMapping | undefined; // it stays, as a service's does
  await answerUntilKilled(
    {
      isNew,
      readPage: () => {
        const page = new Uint8Array(PAGE_SIZE);
        file.pread(page, middle);
        return page;
      },
      writePage: (page) => file.pwrite(page, middle),
      readAll: () => {
        mapped = file.map();
        touchBytes(mapped.bytes);
      },
      keep: async () => {
        await luo.createSession('bench').preserve(file, 1);
        await before?.finish();
      },
    },
    bodyAt,
  );
}
