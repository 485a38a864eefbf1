/**
 * What a real Linux hands over, taken out of its memory at the moment when the next kernel begins:
 * ours boots from it and finds every file. What ours hands over then, Linux boots from.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeBootImage } from '@liveupdate/boot-image';
import { boot, readEntry, type EntryRecord } from '@liveupdate/kho';
import { LiveUpdateOrchestrator } from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { SparseRam, withMemoryMap } from '@liveupdate/mm';
import { Shmem, ShmemFile } from '@liveupdate/shmem';
import { expect, onTestFinished, test } from 'vitest';
import { Debugger } from './gdb.ts';
import { Guest, kernelPath } from './guest.ts';
import type { KeptSession } from './guest/kept.ts';
import { describe as lookAt, testFlbs } from './made-here.ts';
import { seed } from '@liveupdate/base/test-seed';

const program = (name: string): string => fileURLToPath(new URL(`./guest/${name}.ts`, import.meta.url));
const MiB = 2 ** 20;
/** Of the boot parameters: the address of the first setup_data record. */
const SETUP_DATA = 0x250;
const SETUP_KEXEC_KHO = 10;

/** Where the entry record is, by the parameters that the next kernel is given. */
function entryIn(memory: number, parameters: number): EntryRecord {
  const at = (pa: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    fs.readSync(memory, bytes, 0, length, pa);
    return bytes;
  };
  for (let pa = Number(at(parameters + SETUP_DATA, 8).readBigUInt64LE()); pa !== 0;) {
    const header = at(pa, 16);
    if (header.readUInt32LE(8) === SETUP_KEXEC_KHO) return readEntry(at(pa + 16, 32));
    pa = Number(header.readBigUInt64LE());
  }
  throw new Error('the next kernel is told of no handover');
}

test('files that Linux preserved are found by ours, byte by byte, and by Linux again', async () => {
  const memory = 384;
  await using guest = await Guest.start({
    program: program('give'),
    memory,
    env: { GUEST_SEED: seed, GUEST_FILES: 60 },
  });
  await guest.until('preserved');
  const expected = JSON.parse(fs.readFileSync(join(guest.share, 'expected.json'), 'utf8')) as KeptSession[];
  using debug = await Debugger.attach(join(guest.folder, 'gdb'));
  await debug.runToNextKernel(guest.serial, () => {
    fs.writeFileSync(join(guest.share, 'go'), '');
  });
  const file = fs.openSync(guest.memory, 'r');
  onTestFinished(() => {
    fs.closeSync(file);
  });
  const entry = entryIn(file, Number(await debug.register('rsi')));

  const image = new SparseRam(memory * MiB, (block, pa) => {
    fs.readSync(file, block, 0, block.length, pa);
  });
  const ram = withMemoryMap(image, [{ pa: MiB, length: (memory - 1) * MiB, kind: 'usable' }]);
  const kho = boot(ram, entry, { freeMemory: 'discard', release: 'between' });
  const shmem = new Shmem({ pages: kho.pages });
  const handler = { ...memfdHandler({ kho, shmem }), flbs: testFlbs() };
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [handler] });
  expect(luo.incomingSessions.map(({ name }) => name)).toEqual(expected.map(({ name }) => name));
  for (const { name, files } of expected) {
    const came = luo.retrieveSession(name);
    expect(came.files.map(({ token }) => `${token}`)).toEqual(files.map(({ token }) => token));
    const goes = luo.createSession(name);
    for (const kept of files) {
      const token = BigInt(kept.token);
      const same = await came.retrieve(token, ShmemFile);
      expect(lookAt(same, token)).toEqual(kept);
      await goes.preserve(same, token);
    }
    await came.finish();
  }
  kho.commit();
  kho.pages.assertConsistent();
  await luo.reboot();
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-from-linux-'));
  onTestFinished(() => {
    fs.rmSync(folder, { recursive: true });
  });
  const kernel = fs.readFileSync(kernelPath() ?? '');
  const back = await writeBootImage(folder, { ram, size: memory * MiB, entry: kho.entry, kernel });
  await using again = await Guest.start({ program: program('receive'), image: back });
  fs.writeFileSync(join(again.share, 'expected.json'), JSON.stringify(expected));
  await again.until('retrieved');
  expect(JSON.parse(fs.readFileSync(join(again.share, 'found.json'), 'utf8'))).toEqual(expected);
  await again.until('finished');
  expect(again.serial).toContain('exec from: between');
  expect(again.serial).toContain('liveupdate number: 2');
});
