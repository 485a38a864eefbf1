/**
 * Every option and argument of every command, with words of the wrong kind: one sentence on
 * standard error that names the word and says what to write, exit code 2, and nothing is changed.
 */
import * as fs from 'node:fs';
import { inputRows, type InputCall } from '@liveupdate/base/test-inputs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Directory, newMachine, preserveFile, runHere, type Ran } from './test-cli.ts';

const NO_NUMBER = [
  '',
  ' ',
  'abc',
  'NaN',
  'Infinity',
  '-1',
  '1.5',
  '0x',
  '1e99',
  '1_000',
  '5n',
  'null',
  '٣',
  '2 2',
];
const NO_COUNT = [...NO_NUMBER, '0', '0x10', '1e2', '+3', '9007199254740993', '1MiB'];
const NO_SIZE = [
  ...NO_NUMBER,
  '0',
  '0x10',
  '-1GiB',
  '1XiB',
  'GiB',
  '1GiBs',
  '9007199254740993',
  '99999999TiB',
];
const NO_ENTRY = [
  ...NO_NUMBER,
  '1',
  '1,',
  ',1',
  '1,2,',
  '1,2,3,4',
  '1;2',
  '0x1,0xg',
  '1,-2',
  '1,2.5',
  '1,9007199254740993',
];
const NO_FILE = [
  '',
  ' ',
  '/',
  'a',
  'a/',
  '/1',
  'a/-1',
  'a/1.5',
  'a/0x',
  'a/1e3',
  'a/b',
  'a/1 ',
  'a/18446744073709551616',
];
const NO_TOKEN_FILE = ['', '=', '1', '1=', '=a', 'a=b', '-1=a', '1.5=a', '18446744073709551616=a', '1 =a'];
const NO_SESSION = ['', 'a'.repeat(64), 'ü'.repeat(32)];
const NO_CHOICE = ['', 'Always', 'yes', 'within_size', 'always '];
const NO_FLAG_VALUE = ['--json=yes', '--json=', '--JSON', '-json', '--no-json'];

let directory: Directory;
let ram: string;

beforeAll(async () => {
  directory = new Directory();
  ram = `${directory.path}/ram`;
  const machine = await newMachine(ram, '1MiB');
  await preserveFile(machine, 's', 1n, Uint8Array.of(1, 2, 3));
  await machine.handOver();
  directory.write('file', 'content');
});

afterAll(() => {
  directory[Symbol.dispose]();
});

/** A command line with one word open. */
const words =
  (...line: readonly string[]) =>
  (_: undefined, given: string): Promise<Ran> =>
    runHere(
      ...line.map((word) => word.replace('RAM', ram).replace('DIR', directory.path).replace('GIVEN', given)),
    );

const LINES: Record<string, InputCall<undefined>> = {
  'demo --size': [words('demo', '--size=GIVEN'), NO_SIZE],
  'demo --size, apart': [words('demo', '--size', 'GIVEN'), NO_SIZE],
  'demo --files': [words('demo', '--files=GIVEN'), NO_COUNT],
  'demo --generations': [words('demo', '--generations=GIVEN'), [...NO_COUNT, '1']],
  'demo --huge': [words('demo', '--huge=GIVEN'), NO_CHOICE],
  'demo, a flag': [words('demo', 'GIVEN'), [...NO_FLAG_VALUE, 'extra']],
  'list, a flag': [words('list', 'GIVEN'), [...NO_FLAG_VALUE, 'extra']],
  'doctor, a flag': [words('doctor', 'GIVEN'), [...NO_FLAG_VALUE, 'extra']],
  'inspect --entry': [words('inspect', '--entry=GIVEN', 'RAM'), NO_ENTRY],
  'inspect --ram-size': [words('inspect', '--ram-size=GIVEN', 'RAM'), [...NO_SIZE, '5000']],
  'inspect, a flag': [words('inspect', 'GIVEN', 'RAM'), [...NO_FLAG_VALUE, '--hash=1', '--all=1', 'extra']],
  'inspect image': [words('inspect', 'GIVEN'), ['']],
  'check RAM': [words('check', 'GIVEN'), ['']],
  'check, a flag': [words('check', 'GIVEN', 'RAM'), [...NO_FLAG_VALUE, 'extra']],
  'export image': [words('export', 'GIVEN', 's/1', 'DIR/out'), ['']],
  'export file': [words('export', 'RAM', 'GIVEN', 'DIR/out'), NO_FILE],
  'export to': [words('export', 'RAM', 's/1', 'GIVEN'), ['']],
  'export --entry': [words('export', '--entry=GIVEN', 'RAM', 's/1', 'DIR/out'), NO_ENTRY],
  'export --ram-size': [words('export', '--ram-size=GIVEN', 'RAM', 's/1', 'DIR/out'), [...NO_SIZE, '5000']],
  'export, a flag': [
    words('export', 'GIVEN', 'RAM', 's/1', 'DIR/out'),
    ['--force=1', '--Force', '--unfinished=1', 'extra'],
  ],
  'import RAM': [words('import', 'GIVEN', 's/2', 'DIR/file'), ['', '.', '..', 'a b']],
  'import RAM to be made': [
    words('import', '--size=1MiB', 'GIVEN', 's/2', 'DIR/file'),
    ['', '.', '..', 'a b'],
  ],
  'import file': [words('import', 'RAM', 'GIVEN', 'DIR/file'), [...NO_FILE, `${'a'.repeat(64)}/1`]],
  'import from': [words('import', 'RAM', 's/2', 'GIVEN'), ['']],
  'import --size': [words('import', '--size=GIVEN', 'RAM', 's/2', 'DIR/file'), [...NO_SIZE, '5000', '17TiB']],
  'import, a flag': [words('import', 'GIVEN', 'RAM', 's/2', 'DIR/file'), ['--huge=1', '--Huge', 'extra']],
  'compat from': [words('compat', 'GIVEN', 'RAM'), ['']],
  'compat to': [words('compat', 'RAM', 'GIVEN'), ['']],
  'compat, a flag': [words('compat', 'GIVEN', 'RAM', 'RAM'), NO_FLAG_VALUE],
  'kernel preserve session': [words('kernel', 'preserve', 'GIVEN', '1=DIR/file'), NO_SESSION],
  'kernel preserve file': [words('kernel', 'preserve', 's', 'GIVEN'), NO_TOKEN_FILE],
  'kernel preserve, a file more': [
    words('kernel', 'preserve', 's', '1=DIR/file', 'GIVEN'),
    ['1=a', '0x1=a', 'a'],
  ],
  'kernel preserve, standard input twice': [words('kernel', 'preserve', 's', '1=-', 'GIVEN'), ['2=-']],
  'kernel preserve, a flag': [words('kernel', 'preserve', 'GIVEN', 's', '1=DIR/file'), NO_FLAG_VALUE],
  'kernel retrieve session': [words('kernel', 'retrieve', 'GIVEN', '1=DIR/out'), NO_SESSION],
  'kernel retrieve file': [words('kernel', 'retrieve', 's', 'GIVEN'), NO_TOKEN_FILE],
  'kernel retrieve, a flag': [
    words('kernel', 'retrieve', 'GIVEN', 's', '1=DIR/out'),
    ['--force=1', '--Force'],
  ],
  'kernel finish session': [words('kernel', 'finish', 'GIVEN'), NO_SESSION],
  'kernel load image': [words('kernel', 'load', 'GIVEN'), ['']],
  'kernel load --initrd': [words('kernel', 'load', '--initrd=GIVEN', 'DIR/file'), ['']],
  'kernel load --unload': [words('kernel', 'load', '--unload', 'GIVEN'), ['a']],
  'kernel, a word': [words('kernel', 'GIVEN'), ['lst', 'preserv', '--json']],
  'kernel list, a flag': [words('kernel', 'list', 'GIVEN'), [...NO_FLAG_VALUE, 'extra']],
  'kernel exec, a flag': [words('kernel', 'exec', 'GIVEN'), ['--force=1', 'extra']],
  'remove RAM': [words('remove', 'GIVEN'), ['', '.', '..', 'a b', 'a'.repeat(201)]],
  'remove, a flag': [words('remove', 'GIVEN', 'RAM'), ['--force', 'extra']],
};

/** RAMs whose names end with numbers are those of programs that run beside this one. */
const OTHERS = /-\d+(\.|$)/;

function everything(): unknown {
  const files = fs.readdirSync(directory.path);
  const ours = fs
    .readdirSync('/dev/shm')
    .filter((file) => file.startsWith('liveupdate.') && !OTHERS.test(file));
  return { files, ours, ram: fs.readFileSync(ram).toString('latin1') };
}

test.each(inputRows(LINES))('$title', async ({ call }) => {
  const before = everything();
  const { status, stdout, stderr } = (await call(undefined)) as Ran;
  expect(stderr).toMatch(/^liveupdate: [^\n]+\n$/);
  expect(stdout).toBe('');
  expect(status).toBe(2);
  expect(everything()).toEqual(before);
});
