/**
 * Only what would be seen too late is refused: every whole program passes, and whatever is no ELF.
 */
import * as fs from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { checkWholeProgram } from './program-file.ts';
import { codeOfThrown } from './test-thrown.ts';

const folder = fs.mkdtempSync('/tmp/liveupdate-test-');
afterAll(() => {
  fs.rmSync(folder, { recursive: true });
});

function file(content: Uint8Array | string): string {
  const path = `${folder}/file`;
  fs.writeFileSync(path, content);
  return path;
}

/** An ELF file of one segment, 32 or 64 bits, that says it has `bytes` from `offset` on. */
function elf(bits: 32 | 64, offset: number, bytes: number, type = 1): Buffer {
  const content = Buffer.alloc(256);
  content.write('\x7fELF', 'latin1');
  content[4] = bits === 32 ? 1 : 2;
  content[5] = 1;
  if (bits === 32) {
    content.writeUInt32LE(64, 28);
    content.writeUInt16LE(32, 42);
    content.writeUInt16LE(1, 44);
    content.writeUInt32LE(type, 64);
    content.writeUInt32LE(offset, 68);
    content.writeUInt32LE(bytes, 80);
  } else {
    content.writeBigUInt64LE(64n, 32);
    content.writeUInt16LE(56, 54);
    content.writeUInt16LE(1, 56);
    content.writeUInt32LE(type, 64);
    content.writeBigUInt64LE(BigInt(offset), 72);
    content.writeBigUInt64LE(BigInt(bytes), 96);
  }
  return content;
}

describe.each([32, 64] as const)('an ELF file of %i bits', (bits) => {
  test.each([
    ['to the last byte', 0, 256, 1, 'nothing'],
    ['one byte short', 0, 257, 1, 'ENOEXEC'],
    ['that begins behind the end', 4096, 1, 1, 'ENOEXEC'],
    ['of memory alone, wherever it stands', 4096, 0, 1, 'nothing'],
    ['that is not loaded', 4096, 4096, 4, 'nothing'],
  ])('with a segment %s', (_, offset, bytes, type, code) => {
    const check = (): void => {
      checkWholeProgram(file(elf(bits, offset, bytes, type)));
    };
    if (code === 'nothing') check();
    else expect(codeOfThrown(check)).toBe(code);
  });
});

test.each([
  ['the programs of this host', [process.execPath, '/bin/sh', '/bin/true', '/usr/bin/env']],
  ['what is not there, or no file', ['/no/such', '/tmp', '/dev/null', '/dev/tty', '']],
  ['texts', [file('#!'), file('#! \n'), file('#!/bin/sh'), file('x'), file('')]],
])('%s pass', (_, paths) => {
  for (const path of paths) checkWholeProgram(path);
});

test('an ELF file with nonsense in its header passes: the kernel says what it thinks of it', () => {
  for (let at = 4; at < 64; at++) {
    const content = elf(64, 0, 256);
    content.fill(0xff, at, at + 8);
    try {
      checkWholeProgram(file(content));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOEXEC' });
    }
  }
});

test('a script that runs itself is looked at only so often', () => {
  const path = `${folder}/self`;
  fs.writeFileSync(path, `#!${path}`);
  checkWholeProgram(path);
});
