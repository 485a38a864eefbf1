/**
 * New data of files, of a checkpoint or a freeze: at every instant the next owner finds the new of
 * all of them or the old of all, and so does one that comes after it died itself.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import type { FileHandler } from '@liveupdate/luo-core';
import { forEachPrefix, storesOf } from '@liveupdate/mm/test-stores';
import { expect, it } from 'vitest';
import type { Generation } from './generation.ts';
import { bootNext, TestRam } from './test-generations.ts';

const SIZE = 128 * PAGE_SIZE;

/** A file that is a number, and has no memory. */
class Tag {
  value: number;
  constructor(value: number) {
    this.value = value;
  }
}

const handler: FileHandler<Tag> = {
  compatible: 'tag-v1',
  canPreserve: (file): file is Tag => file instanceof Tag,
  preserve: ({ file }) => ({ data: file.value }),
  checkpoint: ({ file }) => ({ data: file.value }),
  freeze: ({ file }) => ({ data: file.value }),
  unpreserve: () => undefined,
  retrieve: ({ data }) => new Tag(Number(data)),
  finish: () => undefined,
};
const options = { handlers: () => [handler] };

function dataIn(image: Uint8Array): string {
  const { luo } = bootNext(TestRam.of(image), options).kernel;
  return luo.incomingSessions[0].files.map(({ data }) => data).join();
}

it.each<[string, (machine: Generation) => Promise<void>]>([
  ['a checkpoint', ({ kernel }) => kernel.luo.checkpoint()],
  ['a freeze', ({ kernel }) => kernel.luo.reboot()],
])('after every store of %s, and of a recovery from there', async (_, operation) => {
  const ram = new TestRam(SIZE);
  const machine = bootNext(ram, options);
  const session = machine.kernel.luo.createSession('s');
  const tags = [1, 2, 3].map((value) => new Tag(value));
  for (const [token, tag] of tags.entries()) await session.preserve(tag, token);
  for (const tag of tags) tag.value += 10;
  const image = ram.memory8.slice();
  const stores = await storesOf(ram.memory8.buffer, () => operation(machine));
  const found: string[] = [dataIn(image)];
  await forEachPrefix(image, stores, async (now) => {
    const data = dataIn(now);
    if (data !== found[found.length - 1]) found.push(data);
    const dying = TestRam.of(now);
    const base = dying.memory8.slice();
    const more = await storesOf(dying.memory8.buffer, () => {
      bootNext(dying, options).tenure.own();
    });
    await forEachPrefix(base, more, (again) => {
      expect(dataIn(again)).toBe(data);
      return Promise.resolve();
    });
  });
  expect(found).toEqual(['1,2,3', '11,12,13']);
});
