/** For tests: something that has the names of a kernel, and the loader around it. */

interface KernelNames {
  readonly release?: string;
  readonly kho?: string;
  readonly luo?: string;
  readonly files?: readonly string[];
}

/** An ELF program with the strings and structures that a kernel has, and some that look alike. */
export function testKernel({
  release = '7.3.4',
  kho = 'kho-v4',
  luo = 'luo-v5',
  files = ['memfd-v2'],
}: KernelNames): Buffer {
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16); // a program
  const strings = [
    'Linux version %s (%s)',
    `Linux version ${release} (root@host) (gcc)`,
    kho,
    luo,
    'memblock-v1',
    'not-a-kho-v4', // its end is the name of a format
    'snps,dwmac-v1', // a device
  ];
  const text = Buffer.from(
    `\\0${strings.filter((each) => each !== '').join('\\0')}\\0`.replaceAll('\\0', '\0'),
  );
  const padded = Buffer.concat([text, Buffer.alloc(8 - (text.length % 8))]);
  const structures = files.map((name) => {
    const structure = Buffer.alloc(8 + 48 + 16);
    structure.writeBigUInt64LE(0xffff_ffff_8182_2d40n);
    structure.write(name, 8);
    return structure;
  });
  // Behind a number that is no address, or with something behind its NUL.
  const alike = Buffer.alloc(144);
  alike.write('other-v1', 8);
  alike.writeBigUInt64LE(0xffff_ffff_8182_2d40n, 72);
  alike.write('another-v1\0more', 80);
  return Buffer.concat([header, padded, ...structures, alike]);
}

/**
 * A bzImage around what is packed.
 *
 * @param size of the kernel, which stands behind it, but for gzip
 */
export function testBzImage(packed: Buffer, size?: number): Buffer {
  const setup = Buffer.alloc(2 * 512);
  setup.writeUInt8(1, 0x1f1);
  setup.write('HdrS', 0x202);
  setup.writeUInt16LE(0x20f, 0x206);
  const trailer = Buffer.alloc(size === undefined ? 0 : 4);
  if (size !== undefined) trailer.writeUInt32LE(size);
  setup.writeUInt32LE(0x20, 0x248);
  setup.writeUInt32LE(packed.length + trailer.length, 0x24c);
  return Buffer.concat([setup, Buffer.alloc(0x20), packed, trailer, Buffer.alloc(64)]);
}
