/**
 * Calling a command by its ioctl request: which it is, and the rules for structures that may grow
 * (kernel: copy_struct_from_user).
 *
 * In this order: a number that no command has, EINVAL; the size cannot be read, EFAULT; the number
 * with other type, direction or size bits, ENOTTY; smaller than the command's structure, EINVAL;
 * larger, with anything but zeros in what is beyond, E2BIG; memory that ends before, EFAULT.
 */
import { KernelError, StructView } from '@liveupdate/base';
import type { DescriptorTable } from './descriptors.ts';
import { ioctlNumber } from './uapi.ts';

/** A command of a kind of file. */
export interface Command<F> {
  readonly request: number;
  /** Bytes of its structure: the least that a caller may pass. */
  readonly size: number;
  /** Its work. `argument` is the structure in the caller's memory. */
  run(file: F, argument: StructView, descriptors: DescriptorTable): void | Promise<void>;
}

/** Where every structure has its own size, a u32. */
const SIZE_BYTES = 4;

/**
 * Finds the command, checks the structure, and does the work on `file`.
 *
 * @param argument the caller's memory, live
 */
export async function callCommand<F>(
  commands: readonly Command<F>[],
  file: F,
  request: number,
  argument: Uint8Array,
  descriptors: DescriptorTable,
): Promise<void> {
  const hex = `0x${(request >>> 0).toString(16)}`;
  const command = commands.find((each) => ioctlNumber(each.request) === ioctlNumber(request));
  if (!command) throw new KernelError('EINVAL', `${hex} is no command of this file`);
  if (argument.length < SIZE_BYTES) throw new KernelError('EFAULT', 'the argument has no size');
  if (command.request !== request)
    throw new KernelError(
      'ENOTTY',
      `${hex} is not the request of this command: 0x${command.request.toString(16)} is`,
    );
  const size = new DataView(argument.buffer, argument.byteOffset, SIZE_BYTES).getUint32(0, true);
  if (size < command.size)
    throw new KernelError('EINVAL', `the argument says ${size} bytes, this command needs ${command.size}`);
  if (argument.length < size)
    throw new KernelError('EFAULT', `the argument says ${size} bytes and has ${argument.length}`);
  if (argument.subarray(command.size, size).some((byte) => byte !== 0))
    throw new KernelError('E2BIG', `beyond ${command.size} bytes nothing is known to this version`);
  await command.run(file, new StructView(argument.subarray(0, command.size)), descriptors);
}
