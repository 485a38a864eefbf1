/** The handover of a real Linux 7.3.4 kernel: our kernel boots on it and takes every file over. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { PAGE_SIZE, physToPfn } from '@liveupdate/base';
import { bootHandover, readHandover } from '@liveupdate/kho';
import type { FileLifecycleBound } from '@liveupdate/luo-core';
import { ElfCoreRam } from '@liveupdate/memory-image';
import { INCOMING_HEAD, INCOMING_TAIL, overlayRam } from '@liveupdate/mm';
import { ShmemFile } from '@liveupdate/shmem';
import { beforeAll, describe, expect, test } from 'vitest';
import { readMemfdFolios, readMemfdRecord } from './read-memfd.ts';
import { contents, layoutOf, nextKernel, start } from './test-kernel.ts';

interface Expected {
  readonly sessions: readonly {
    readonly name: string;
    readonly files: readonly {
      readonly token: string;
      readonly compatible: string;
      readonly position: number;
      readonly size: number;
      readonly seals: number;
      readonly folios: number;
      readonly folioOrders: Readonly<Record<string, number>>;
      readonly folioFlags: readonly number[];
      readonly sha256: string;
    }[];
  }[];
  readonly preserved: { readonly count: number; readonly bytes: number };
  readonly liveupdateNumber: number;
  readonly boot: {
    readonly ramSize: number;
    readonly fdtAddr: number;
    readonly fdtSize: number;
    readonly scratchAddr: number;
    readonly scratchSize: number;
  };
}

const fixture = (name: string): Buffer =>
  readFileSync(fileURLToPath(new URL(`../../../fixtures/linux-7.3/${name}`, import.meta.url)));
const expected = JSON.parse(fixture('expected.json').toString()) as Expected;

let image: ElfCoreRam;
beforeAll(() => {
  image = new ElfCoreRam(gunzipSync(fixture('handover.elf.gz')), expected.boot.ramSize);
});

/** What the kernel's FLB test preserves: this and the number of the FLB. */
const TEST_FLB_DATA = 0xfeed_f00d_cafe_bee0n;

/** A kernel of ours on a copy of the image. */
function bootLinux() {
  const ram = overlayRam(image);
  return start(bootHandover(ram, readHandover(ram, expected.boot), { freeMemory: 'keep' }));
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function countByOrder(orders: Iterable<number>) {
  const counts: Partial<Record<string, number>> = {};
  for (const order of orders) counts[order] = (counts[order] ?? 0) + 1;
  return counts;
}

/** Frames that the previous kernel preserved and nobody has restored. */
function incomingFrames({ kho }: ReturnType<typeof bootLinux>): number[] {
  const { table } = kho.pages;
  return Array.from({ length: table.frames }, (_, pfn) => pfn).filter((pfn) => {
    const kind = table.kindOf(pfn);
    return kind === INCOMING_HEAD || kind === INCOMING_TAIL;
  });
}

describe('a handover of Linux 7.3.4', () => {
  test('all 156 files come back as they were, and nothing of them is left but what KHO keeps for itself', async () => {
    const kernel = bootLinux();
    const { luo, kho, shmem } = kernel;
    // The page of the device tree is this kernel's until it has taken over.
    expect(incomingFrames(kernel).length * PAGE_SIZE).toBe(expected.preserved.bytes - PAGE_SIZE);
    expect(luo.liveupdateNumber).toBe(BigInt(expected.liveupdateNumber));
    // Reading the sessions frees their records: LUO's own, a block of sessions, five of files, one
    // of FLBs.
    expect(incomingFrames(kernel).length * PAGE_SIZE).toBe(expected.preserved.bytes - 9 * PAGE_SIZE);
    let files = 0;
    for (const { name, files: wanted } of expected.sessions) {
      const session = luo.retrieveSession(name);
      expect(session.files.map(({ token, compatible }) => [String(token), compatible])).toEqual(
        wanted.map(({ token, compatible }) => [token, compatible]),
      );
      const retrieved: ShmemFile[] = [];
      for (const file of wanted) {
        const record = readMemfdRecord(
          kho.ram,
          Number(session.files[retrieved.length].data),
          file.compatible,
        );
        const list = readMemfdFolios(kho.ram, record, (pfn) => kho.pages.orderOf(pfn));
        expect([...new Set(list.flags)]).toEqual(file.folioFlags);
        const same = await session.retrieve(BigInt(file.token), ShmemFile);
        retrieved.push(same);
        expect({
          size: same.size,
          position: same.position,
          seals: same.seals,
          folios: layoutOf(same).filter((order) => order >= 0).length,
          folioOrders: countByOrder(layoutOf(same).filter((order) => order >= 0)),
          sha256: sha256(contents(same)),
        }).toEqual({
          size: file.size,
          position: file.position,
          seals: file.seals,
          folios: file.folios,
          folioOrders: file.folioOrders,
          sha256: file.sha256,
        });
        files += 1;
      }
      await session.finish();
      for (const file of retrieved) file.close();
    }
    expect(files).toBe(156);
    expect(shmem.used).toBe(0);
    kho.pages.assertConsistent();

    // The page that its kexec metadata lies in belongs to nobody when it is read, and stays out of
    // use until the next handover.
    const metadata = kho.retrieveSubtree('kexec-metadata');
    expect(incomingFrames(kernel)).toEqual([physToPfn(metadata?.pa ?? 0)]);
  });

  test('finished without a look, all of it is free, and the next generation of ours finds nothing', async () => {
    const kernel = bootLinux();
    for (const session of kernel.luo.incomingSessions) await session.finish();
    kernel.kho.pages.assertConsistent();
    expect(incomingFrames(kernel)).toHaveLength(1);
    kernel.kho.commit();
    await kernel.luo.reboot();
    const next = nextKernel({ kho: { ram: kernel.kho.ram, entry: kernel.kho.entry } });
    expect(next.luo.incomingSessions).toEqual([]);
    expect(next.luo.liveupdateNumber).toBe(2n);
  });

  test('its files go on through a handover of ours', async () => {
    const kernel = bootLinux();
    const out = kernel.luo.createSession('on');
    const session = kernel.luo.retrieveSession('alpha');
    for (const { token } of session.files) await out.preserve(await session.retrieve(token), token);
    await session.finish();
    kernel.kho.commit();
    await kernel.luo.reboot();
    const next = nextKernel({ kho: { ram: kernel.kho.ram, entry: kernel.kho.entry } });
    const again = next.luo.retrieveSession('on');
    for (const file of expected.sessions.find(({ name }) => name === 'alpha')?.files ?? []) {
      const same = await again.retrieve(BigInt(file.token), ShmemFile);
      expect([same.size, same.position, same.seals, sha256(contents(same))]).toEqual([
        file.size,
        file.position,
        file.seals,
        file.sha256,
      ]);
    }
    await again.finish();
    next.kho.pages.assertConsistent();
  });

  test('its FLBs, whose code only that kernel has, stay and keep nobody from finishing', async () => {
    const { luo, kho } = bootLinux();
    for (const session of luo.incomingSessions) await session.finish();
    expect(luo.incomingFlbs).toEqual(
      [0, 1, 2].map((i) => ({
        compatible: `liveupdate-test-flb-v${i}`,
        files: 156n,
        data: TEST_FLB_DATA + BigInt(i),
        retrieval: 'untried',
      })),
    );
    kho.pages.assertConsistent();
  });

  test('its FLBs, registered here: retrieved once with the data of Linux, finished with the last of all files', async () => {
    const { luo, handler } = bootLinux();
    const log: string[] = [];
    const flbs = [0, 1, 2].map((i): FileLifecycleBound<bigint> => ({
      compatible: `liveupdate-test-flb-v${i}`,
      preserve: () => ({ data: TEST_FLB_DATA + BigInt(i), object: 0n }),
      unpreserve: () => undefined,
      retrieve: ({ data }) => {
        log.push(`retrieve ${i}`);
        return data;
      },
      finish: ({ object }) => void log.push(`finish ${object - TEST_FLB_DATA}`),
    }));
    for (const flb of flbs) luo.registerFlb(handler, flb);
    expect(await luo.retrieveFlb(flbs[1])).toBe(TEST_FLB_DATA + 1n);
    const sessions = luo.incomingSessions;
    const last = sessions.pop();
    for (const session of sessions) await session.finish();
    expect(log).toEqual(['retrieve 1']);
    await last?.finish();
    expect(log).toEqual(['retrieve 1', 'retrieve 2', 'finish 2', 'finish 1', 'retrieve 0', 'finish 0']);
    expect(luo.incomingFlbs.every(({ files, retrieval }) => files === 0n && retrieval === 'finished')).toBe(
      true,
    );
  });
});
