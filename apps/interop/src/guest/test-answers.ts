/**
 * Tries the table of the device's scenarios on the real one, a segment in each kernel, and reports
 * every answer.
 */
import * as fs from 'node:fs';
import { duplicateFrom, ioctlBytes, Memfd } from '@liveupdate/linux';
import { answersOf, LINUX_SCENARIOS, type DeviceWorld } from '@liveupdate/luo-core/test-device-scenarios';
import { replaceKernel } from './replace-kernel.ts';
import { report } from './report.ts';

const { GUEST_SEGMENT = '0' } = process.env;
const PAGE = 4096;
/** Bytes of the memory that arguments lie in. */
const ROOM = 2 * PAGE;
/** Descriptors above standard input, output and error. */
const FIRST_FD = 3;
const O_CLOEXEC = 0o2000000;

/** This program on this Linux. */
class LinuxWorld implements DeviceWorld {
  #filling: number[] = [];
  /** Behind it lie pages of a file that is too short for them: for the kernel, no memory. */
  readonly #arguments: Uint8Array;

  constructor() {
    const file = Memfd.create('arguments', 0);
    file.truncate(ROOM + PAGE);
    this.#arguments = file.map().bytes.subarray(0, ROOM);
    file.truncate(ROOM);
  }

  open(): number {
    return fs.openSync('/dev/liveupdate', 'r+');
  }

  ioctl(fd: number, request: number, argument: Uint8Array): void {
    const memory = this.#arguments.subarray(ROOM - argument.length);
    memory.set(argument);
    ioctlBytes(fd, request, memory);
    argument.set(memory);
  }

  close(fd: number): void {
    fs.closeSync(fd);
  }

  dup(fd: number): number {
    return duplicateFrom(fd, FIRST_FD);
  }

  closesOnExec(fd: number): boolean {
    const flags = /^flags:\s*(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '';
    return (Number.parseInt(flags, 8) & O_CLOEXEC) !== 0;
  }

  file(value: number): number {
    const { fd } = Memfd.create('counter', 0);
    this.setValue(fd, value);
    return fd;
  }

  valueOf(fd: number): number {
    const value = new Uint32Array(1);
    fs.readSync(fd, value, 0, 4, 0);
    return value[0];
  }

  setValue(fd: number, value: number): void {
    fs.writeSync(fd, Uint32Array.of(value), 0, 4, 0);
  }

  unknownFile(): number {
    return fs.openSync('/dev/null', 'r+');
  }

  leaveFree(count?: number): void {
    for (const fd of this.#filling) fs.closeSync(fd);
    this.#filling = [];
    if (count === undefined) return;
    try {
      for (;;) this.#filling.push(this.unknownFile());
    } catch {
      // there are no more
    }
    for (const fd of this.#filling.splice(0, count)) fs.closeSync(fd);
  }
}

const world = new LinuxWorld();
const segment = Number(GUEST_SEGMENT);
const answers: (readonly [title: string, answers: readonly string[]])[] = [];
for (const { title, segments } of LINUX_SCENARIOS) {
  const steps = segments.at(segment);
  if (steps) answers.push([title, await answersOf(world, steps)]);
}
report('answered', { answers });
if (LINUX_SCENARIOS.some(({ segments }) => segments.length > segment + 1)) {
  replaceKernel({ GUEST_SEGMENT: segment + 1 });
}
report('done');
