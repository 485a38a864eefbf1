/** The table of what the device answers, on ours. On a real one it is run in a guest. */
import { expect, test } from 'vitest';
import { ProcessDescriptors } from './descriptors.ts';
import { LiveUpdateDevice } from './device.ts';
import type { PreservableFile } from './handler.ts';
import { answersOf, expectedOf, OUR_SCENARIOS, type DeviceWorld } from './test-device-scenarios.ts';
import { coldKernel, Counter, nextKernel, type TestKernel } from './test-kernel.ts';

/** As many numbers as a process has at most here. */
const LIMIT = 400;

/** A table that remembers what exec closes. */
class Descriptors extends ProcessDescriptors {
  readonly closesOnExec = new Map<number, boolean>();

  override install(file: PreservableFile, options: { readonly closeOnExec: boolean }): number {
    const fd = super.install(file, options);
    this.closesOnExec.set(fd, options.closeOnExec);
    return fd;
  }
}

/** A program on a simulated kernel. */
class OurWorld implements DeviceWorld {
  readonly #device: LiveUpdateDevice;
  readonly #table = new Descriptors(LIMIT);
  #filling: number[] = [];

  constructor({ luo }: TestKernel) {
    this.#device = new LiveUpdateDevice(luo);
  }

  open(): number {
    return this.#device.open(this.#table);
  }

  ioctl(fd: number, request: number, argument: Uint8Array): Promise<void> {
    return this.#device.ioctl(this.#table, fd, request, argument);
  }

  close(fd: number): void | Promise<void> {
    return this.#table.close(fd);
  }

  dup(fd: number): number {
    return this.#table.dup(fd);
  }

  closesOnExec(fd: number): boolean {
    return this.#table.closesOnExec.get(fd) ?? false;
  }

  file(value: number): number {
    return this.#table.install(new Counter(value), { closeOnExec: false });
  }

  valueOf(fd: number): number {
    return this.#counter(fd).value;
  }

  setValue(fd: number, value: number): void {
    this.#counter(fd).value = value;
  }

  unknownFile(): number {
    return this.#table.install({}, { closeOnExec: false });
  }

  leaveFree(count?: number): void {
    for (const fd of this.#filling) void this.#table.close(fd);
    this.#filling = [];
    if (count === undefined) return;
    const free = LIMIT - 3 - this.#table.numbers.length;
    this.#filling = Array.from({ length: free - count }, () => this.unknownFile());
  }

  #counter(fd: number): Counter {
    const counter = this.#table.get(fd);
    if (counter instanceof Counter) return counter;
    throw new Error(`descriptor ${fd} is of no counter`);
  }
}

test.each(OUR_SCENARIOS)('$title', async ({ segments }) => {
  let kernel: TestKernel = coldKernel();
  for (const [i, segment] of segments.entries()) {
    if (i > 0) {
      await kernel.luo.reboot();
      kernel = nextKernel(kernel);
    }
    expect(await answersOf(new OurWorld(kernel), segment)).toEqual(expectedOf(segment));
  }
});

test('all of them go through one handover together, as on a real machine', async () => {
  let kernel: TestKernel = coldKernel(16 * 2 ** 20);
  const last = Math.max(...OUR_SCENARIOS.map(({ segments }) => segments.length)) - 1;
  for (let i = 0; i <= last; i++) {
    if (i > 0) {
      await kernel.luo.reboot();
      kernel = nextKernel(kernel);
    }
    const world = new OurWorld(kernel);
    for (const { title, segments } of OUR_SCENARIOS) {
      const segment = segments.at(i) ?? [];
      expect([title, ...(await answersOf(world, segment))]).toEqual([title, ...expectedOf(segment)]);
    }
  }
});
