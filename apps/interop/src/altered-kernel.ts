/**
 * A second kernel that differs from the given one: the same image, in which a compatible string has
 * another version. It is packed again by xz, into the room that it had.
 */
import { spawnSync } from 'node:child_process';

/** The Linux/x86 boot protocol: where the packed kernel lies. */
const SETUP_SECTORS = 0x1f1;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR = 512;
/** Behind it stands how large it is unpacked. */
const SIZE_BYTES = 4;
/** More thorough than what kernels are packed by, since it must not be larger. */
const XZ = ['--check=crc32', '--x86', '--lzma2=preset=9e,lc=4,lp=0,pb=0,nice=273,mf=bt4,depth=1000'];

function xz(input: Buffer, ...args: string[]): Buffer | undefined {
  const { status, stdout } = spawnSync('xz', [...args, '--format=xz', '--stdout'], {
    input,
    maxBuffer: 2 ** 28,
  });
  return status === 0 ? stdout : undefined;
}

/** An image that is altered, and the string that it has instead. */
export interface AlteredKernel {
  readonly image: Buffer;
  readonly name: string;
}

/**
 * @param name such as 'memfd-v2'; it becomes 'memfd-v3', or another version where that does not fit
 * @returns undefined where xz is not installed, or the kernel is packed by another program
 */
export function alterKernel(original: Buffer, name: string): AlteredKernel | undefined {
  const at = (original.readUInt8(SETUP_SECTORS) + 1) * SECTOR + original.readUInt32LE(PAYLOAD_OFFSET);
  const room = original.readUInt32LE(PAYLOAD_LENGTH) - SIZE_BYTES;
  const kernel = xz(original.subarray(at, at + room), '--decompress');
  if (!kernel) return undefined;
  const place = kernel.indexOf(`${name}\0`);
  if (place < 0) throw new Error(`the kernel has no '${name}'`);
  for (const digit of '3456789') {
    const other = `${name.slice(0, -1)}${digit}`;
    if (other === name) continue;
    kernel.write(other, place);
    const packed = xz(kernel, ...XZ);
    if (!packed || packed.length > room) continue;
    const image = Buffer.from(original);
    image.fill(0, at, at + room);
    packed.copy(image, at);
    return { image, name: other };
  }
  return undefined;
}
