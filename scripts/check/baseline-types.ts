/**
 * The declarations of the core packages, as they are packed, in programs that are checked against
 * the oldest library of types that we promise, and with no types but those: by the oldest
 * TypeScript that we promise, and by newer ones.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, root } from './command.ts';
import { single, sum, type Report } from './report.ts';
import { pack, unpackInto } from './tarballs.ts';
import { isCore, workspace } from './workspace.ts';

/** TypeScript as package.json has it, by the name under which it is installed. */
const COMPILERS = ['typescript-5.7', 'typescript-5.9', 'typescript'];

interface Program {
  lib: string[];
  moduleResolution: 'node16' | 'bundler';
  file: string;
}

const PROGRAMS: Program[] = [
  { lib: ['es2022', 'dom'], moduleResolution: 'node16', file: 'all.ts' },
  { lib: ['es2022', 'dom', 'esnext.disposable'], moduleResolution: 'bundler', file: 'using.ts' },
];

/** What each README says of it: TypeScript, and the library of types. */
const PROMISE = 'TypeScript 5.7 or newer with `lib: ["es2022"]`';

/** Where the library of types knows `using`, the packages take part in it. */
const USING = `
import { DISPOSE, Undo } from '@liveupdate/base';
import type { ShmemMapping } from '@liveupdate/shmem';

export function use(mapping: ShmemMapping): number {
  using undo = new Undo();
  using view: Disposable = mapping;
  undo.add(() => view[Symbol.dispose]());
  const key: typeof Symbol.dispose = DISPOSE;
  mapping[key]();
  return mapping.bytes.length;
}
`;

export async function baselineTypes(): Promise<Report> {
  const cwd = join(await pack(), 'baseline-types');
  const core = workspace().filter(isCore);
  mkdirSync(cwd, { recursive: true });
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  await unpackInto(cwd, core);
  const imports = core.map(({ name }, i) => `import * as p${i} from '${name}';`);
  const uses = core.map((_, i) => `export const keys${i} = Object.keys(p${i});`);
  writeFileSync(join(cwd, 'all.ts'), [...imports, ...uses].join('\n'));
  writeFileSync(join(cwd, 'using.ts'), USING);
  const least: Program = { lib: ['es2022'], moduleResolution: 'bundler', file: 'all.ts' };
  const reports = [await compile(cwd, COMPILERS[0], least)];
  for (const compiler of COMPILERS) {
    for (const program of PROGRAMS) reports.push(await compile(cwd, compiler, program));
  }
  const unsaid = core.filter(
    ({ dir }) =>
      !readFileSync(join(root, dir, 'README.md'), 'utf8')
        .replaceAll(/\s+/g, ' ')
        .includes(PROMISE),
  );
  const output = unsaid.map(({ dir }) => `${dir}/README.md does not say: ${PROMISE}`).join('\n');
  return sum([...reports, single('the READMEs name it', { ok: unsaid.length === 0, output })]);
}

async function compile(cwd: string, compiler: string, program: Program): Promise<Report> {
  const { lib, moduleResolution, file } = program;
  const config = join(cwd, 'tsconfig.json');
  const compilerOptions = {
    target: 'es2022',
    lib,
    module: moduleResolution === 'bundler' ? 'preserve' : 'node16',
    moduleResolution,
    types: [],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
  };
  writeFileSync(config, JSON.stringify({ compilerOptions, files: [file] }));
  const home = join(root, 'node_modules', compiler);
  const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
  const ended = await command('node', [join(home, 'bin/tsc'), '-p', config]);
  return single(`TypeScript ${version}, ${moduleResolution}, lib ${lib.join(' and ')}`, ended);
}
