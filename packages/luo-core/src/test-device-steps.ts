/**
 * Scenarios of the device as lists of steps, each with the answer that it has: what programs do by
 * system calls, on raw bytes. A world performs them: ours is a simulated machine, and the real one
 * a program on a Linux of its own.
 *
 * A handover ends a segment. All scenarios of a world go through it together, so that one kexec
 * serves them all: names of sessions that are handed over differ between scenarios, and nothing is
 * left of a segment but its sessions. No device is open when a segment begins or ends.
 */
import { codeOf, KernelError } from '@liveupdate/base';
import type { MaybePromise } from './callback-types.ts';

/** Whoever performs the steps. What is refused throws an error with a code of Linux. */
export interface DeviceWorld {
  /** Opens the device. */
  open(): MaybePromise<number>;
  /** `argument` is the caller's memory, live; behind its last byte there is none. */
  ioctl(fd: number, request: number, argument: Uint8Array): MaybePromise<void>;
  close(fd: number): MaybePromise<void>;
  dup(fd: number): number;
  closesOnExec(fd: number): boolean;
  /** A new file that can be preserved, with a number in it. */
  file(value: number): number;
  /** The number in a file that came back. */
  valueOf(fd: number): number;
  setValue(fd: number, value: number): void;
  /** A new file that no handler knows. */
  unknownFile(): number;
  /** Takes all numbers of descriptors but so many; undefined: gives them back. */
  leaveFree(count: number | undefined): void;
}

/** Descriptors by the names that steps give them. */
class Names {
  readonly #fds = new Map<string, number>();

  of(name: string | number): number {
    const fd = typeof name === 'number' ? name : this.#fds.get(name);
    if (fd === undefined) throw new KernelError('EBADF', `no step has made a descriptor '${name}'`);
    return fd;
  }

  give(name: string, fd: number): void {
    this.#fds.set(name, fd);
  }
}

/** A step, and what it answers: 'ok', the code of its refusal, or what it tells. */
export interface Step {
  readonly what: string;
  readonly answer: string;
  readonly run: (world: DeviceWorld, names: Names) => MaybePromise<unknown>;
}

/** A descriptor: the name that a step gave it, or a number. */
type Fd = string | number;

/** An argument: bytes, or how they are made where they name a descriptor. */
export type Argument = Uint8Array | ((of: (fd: Fd) => number) => Uint8Array);

const CREATE_SESSION = 0xba00;
const RETRIEVE_SESSION = 0xba01;
const PRESERVE_FD = 0xba40;
const RETRIEVE_FD = 0xba41;
const FINISH = 0xba42;
const GET_NAME = 0xba43;

/** A structure of `size` bytes that says so. */
export function struct(
  size: number,
  fill: (view: DataView, bytes: Uint8Array) => void = () => undefined,
): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, size, true);
  fill(view, bytes);
  return bytes;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Argument of createSession and retrieveSession. */
export const named = (name: string | Uint8Array, size = 72): Uint8Array =>
  struct(size, (_, bytes) => {
    bytes.set(typeof name === 'string' ? encoder.encode(name) : name, 8);
  });

/** Argument of preserveFd and retrieveFd. */
export const fileAt =
  (fd: Fd, token: bigint | number, size = 16): Argument =>
  (of) =>
    struct(size, (view) => {
      view.setInt32(4, of(fd), true);
      view.setBigUint64(8, BigInt(token), true);
    });

/** The same argument, saying another size. */
export const said =
  (size: number, argument: Argument): Argument =>
  (of) => {
    const bytes = typeof argument === 'function' ? argument(of) : argument.slice();
    new DataView(bytes.buffer).setUint32(0, size, true);
    return bytes;
  };

/** The same argument, changed. */
export const changed =
  (argument: Argument, change: (bytes: Uint8Array) => Uint8Array): Argument =>
  (of) =>
    change(typeof argument === 'function' ? argument(of) : argument.slice());

const fdIn = (argument: Uint8Array): number => new DataView(argument.buffer).getInt32(4, true);

const step = (what: string, answer: string, run: Step['run']): Step => ({ what, answer, run });

/** An ioctl of whatever kind; what it answers is read from the argument by `tells`. */
export function ioctl(
  on: Fd,
  request: number,
  argument: Argument,
  answer = 'ok',
  tells?: (argument: Uint8Array, names: Names) => unknown,
): Step {
  return step(`ioctl 0x${request.toString(16)} on ${on}`, answer, async (world, names) => {
    const bytes = typeof argument === 'function' ? argument((fd) => names.of(fd)) : argument.slice();
    await world.ioctl(names.of(on), request, bytes);
    return tells?.(bytes, names);
  });
}

const asFd = (as: string) => (argument: Uint8Array, names: Names) => {
  names.give(as, fdIn(argument));
};

/** The steps that scenarios are made of. The answer stands last; 'ok' unless given. */
export const open = (as: string, answer = 'ok'): Step =>
  step(`open as ${as}`, answer, async (world, names) => {
    names.give(as, await world.open());
  });
export const close = (fd: Fd, answer = 'ok'): Step =>
  step(`close ${fd}`, answer, (world, names) => world.close(names.of(fd)));
export const dup = (fd: Fd, as: string): Step =>
  step(`dup ${fd}`, 'ok', (world, names) => {
    names.give(as, world.dup(names.of(fd)));
  });
export const file = (as: string, value = 1): Step =>
  step(`a file ${as}`, 'ok', (world, names) => {
    names.give(as, world.file(value));
  });
export const unknownFile = (as: string): Step =>
  step(`a file ${as} of no handler`, 'ok', (world, names) => {
    names.give(as, world.unknownFile());
  });
export const setValue = (fd: Fd, value: number): Step =>
  step(`write ${value} to ${fd}`, 'ok', (world, names) => {
    world.setValue(names.of(fd), value);
  });
export const holds = (fd: Fd, value: number): Step =>
  step(`what ${fd} holds`, `${value}`, (world, names) => world.valueOf(names.of(fd)));
export const closesOnExec = (fd: Fd, closes: boolean): Step =>
  step(`whether exec closes ${fd}`, `${closes}`, (world, names) => world.closesOnExec(names.of(fd)));
export const leaveFree = (count?: number): Step =>
  step(`leave ${count ?? 'all'} descriptors free`, 'ok', (world) => {
    world.leaveFree(count);
  });
export const create = (on: Fd, name: string, as: string, answer = 'ok'): Step =>
  ioctl(on, CREATE_SESSION, named(name), answer, asFd(as));
export const retrieveSession = (on: Fd, name: string, as: string, answer = 'ok'): Step =>
  ioctl(on, RETRIEVE_SESSION, named(name), answer, asFd(as));
export const preserve = (on: Fd, fd: Fd, token: bigint | number, answer = 'ok'): Step =>
  ioctl(on, PRESERVE_FD, fileAt(fd, token), answer);
export const retrieve = (on: Fd, token: bigint | number, as: string, answer = 'ok'): Step =>
  ioctl(on, RETRIEVE_FD, fileAt(0, token), answer, asFd(as));
export const finish = (on: Fd, answer = 'ok'): Step => ioctl(on, FINISH, struct(8), answer);
/** The answer is the name, with the NULs of its field as dots. */
export const getName = (on: Fd, answer: string): Step =>
  ioctl(on, GET_NAME, struct(72), answer, (argument) => {
    const field = argument.subarray(8);
    const name = decoder.decode(field.subarray(0, field.indexOf(0)));
    return field.subarray(encoder.encode(name).length).every((byte) => byte === 0) ? name : 'not padded';
  });

/** A scenario: steps up to each handover. */
export interface Scenario {
  readonly title: string;
  readonly segments: readonly (readonly Step[])[];
  /** The one world that it is for, and why. */
  readonly only?: { readonly world: 'ours' | 'real'; readonly because: string };
}

/** Where the kernel is replaced, in a list of steps. */
export const HANDOVER = 'handover';

export function scenario(
  title: string,
  ...steps: readonly (Step | typeof HANDOVER | readonly Step[])[]
): Scenario {
  const segments: Step[][] = [[]];
  for (const each of steps) {
    if (each === HANDOVER) segments.push([]);
    else segments.at(-1)?.push(...(Array.isArray(each) ? (each as readonly Step[]) : [each as Step]));
  }
  return { title, segments };
}

export function onlyIn(world: 'ours' | 'real', because: string, of: Scenario): Scenario {
  return { ...of, only: { world, because } };
}

/** What the steps of a segment answer, each with what it was. */
export async function answersOf(world: DeviceWorld, segment: readonly Step[]): Promise<string[]> {
  const names = new Names();
  const answers: string[] = [];
  for (const { what, run } of segment) {
    let answer: string;
    try {
      const told = (await run(world, names)) as string | number | boolean | undefined;
      answer = told === undefined ? 'ok' : String(told);
    } catch (error) {
      answer = codeOf(error);
      if (answer === 'EIO' && !(error as { code?: unknown }).code) throw error; // no refusal: a bug
    }
    answers.push(`${what}: ${answer}`);
  }
  return answers;
}

/** What they should answer. */
export function expectedOf(segment: readonly Step[]): string[] {
  return segment.map(({ what, answer }) => `${what}: ${answer}`);
}
