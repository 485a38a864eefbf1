/**
 * The packages, where they are installed alone, on the oldest Node.js that they name and on the
 * newest: imported, required, and the example of each README. Then on runtimes that can run the
 * core packages and nothing else: there the others say so in one sentence, and touch nothing.
 */

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, transform } from 'esbuild';
import { command, HANGS, type Ended } from './command.ts';
import { home } from './install.ts';
import { obtainBun, obtainDeno, obtainNode, type Obtained } from './programs.ts';
import { extract, withPromises } from './readme-examples.ts';
import { single, skipped, sum, type Report } from './report.ts';
import { pack } from './tarballs.ts';
import { isCore, isLibrary, workspace, type Package } from './workspace.ts';

/** A program that runs JavaScript. */
interface Runtime {
  title: string;
  file: string;
  /** Before the name of a file. */
  args: string[];
  /** The same, where tests run in nothing but a runner of its own. */
  testArgs?: string[];
}

type How = Pick<Runtime, 'args' | 'testArgs'>;

const FULL = ['22.15.0', '26.10.0'];
const CORE = '20.20.0';
const DENO = '2.9.6';
const BUN = '1.4.5';

/** Its example is a test. */
const TESTKIT = '@liveupdate/handler-testkit';

/** It has Node's streams, and nothing native. */
const isPortable = (each: Package) => isCore(each) || each.name === '@liveupdate/streams';

export async function runtimes(): Promise<Report> {
  const folder = await pack();
  const libraries = workspace().filter((each) => isLibrary(each) && !each.private);
  for (const each of libraries) await writePrograms(folder, each);
  const reports: Report[] = [];
  const here: Runtime = { title: `Node.js ${process.versions.node}`, file: process.execPath, args: [] };
  reports.push(await required(folder, libraries, here)); // `install` ran the examples on it
  for (const version of FULL) {
    reports.push(
      await on(`Node.js ${version}`, obtainNode(version), { args: [] }, async (runtime) => [
        await imported(folder, libraries, runtime),
        await required(folder, libraries, runtime),
        await demo(folder, runtime),
      ]),
    );
  }
  const others: [string, Promise<Obtained>, How][] = [
    [`Node.js ${CORE}`, obtainNode(CORE), { args: [] }],
    [`Deno ${DENO}`, obtainDeno(DENO), { args: ['run', '--allow-all', '--no-prompt'] }],
    [`Bun ${BUN}`, obtainBun(BUN), { args: [], testArgs: ['test'] }],
  ];
  for (const [title, program, how] of others) {
    reports.push(
      await on(title, program, how, async (runtime) => [
        await imported(folder, libraries.filter(isPortable), runtime),
        await refused(folder, libraries, runtime),
      ]),
    );
  }
  reports.push(
    await on(`Node.js ${CORE}`, obtainNode(CORE), { args: [] }, async (node) => [
      await inContext(folder, node),
    ]),
  );
  return sum(reports);
}

async function on(
  title: string,
  program: Promise<Obtained>,
  how: How,
  checks: (runtime: Runtime) => Promise<Report[]>,
): Promise<Report> {
  const obtained = await program;
  if ('why' in obtained) return skipped(`everything on ${title}`, obtained.why);
  return sum(await checks({ title, file: obtained.file, ...how }));
}

/** The README's first example as plain JavaScript, and a module of CommonJS for the package. */
async function writePrograms(folder: string, each: Package): Promise<void> {
  const cwd = home(folder, each);
  const page = readFileSync(join(cwd, 'node_modules', each.name, 'README.md'), 'utf8');
  const program = extract(page).find(({ runs }) => runs);
  const { code } = await transform(program?.code ?? '', { loader: 'ts', format: 'esm', target: 'node20' });
  writeFileSync(join(cwd, 'example.mjs'), code);
  const asks = `console.log(Object.keys(require('${each.name}')).length, 'exports');\n`;
  writeFileSync(join(cwd, 'required.cjs'), asks);
}

/** The promises of a README are in its source: comments do not outlive the stripping of types. */
function promisesOf(folder: string, each: Package): string {
  const page = readFileSync(join(home(folder, each), 'node_modules', each.name, 'README.md'), 'utf8');
  return extract(page).find(({ runs }) => runs)?.code ?? '';
}

async function imported(folder: string, packages: Package[], runtime: Runtime): Promise<Report> {
  return forEach(`imported, its example, on ${runtime.title}`, packages, async (each) =>
    withPromises(promisesOf(folder, each), await runExample(folder, each, runtime)),
  );
}

function runExample(folder: string, each: Package, runtime: Runtime): Promise<Ended> {
  const cwd = home(folder, each);
  const { testArgs } = runtime;
  if (!testArgs || each.name !== TESTKIT) return run(runtime, cwd, 'example.mjs');
  copyFileSync(join(cwd, 'example.mjs'), join(cwd, 'example.test.mjs'));
  return run({ ...runtime, args: testArgs }, cwd, './example.test.mjs');
}

async function required(folder: string, packages: Package[], runtime: Runtime): Promise<Report> {
  return forEach(`required, on ${runtime.title}`, packages, async (each) => {
    const ended = await run(runtime, home(folder, each), 'required.cjs');
    return { ...ended, ok: ended.ok && /^[1-9]\d* exports$/m.test(ended.stdout) };
  });
}

async function forEach(
  what: string,
  packages: Package[],
  check: (each: Package) => Promise<Ended>,
): Promise<Report> {
  const reports: Report[] = [];
  for (const each of packages) reports.push(single(`${each.name}: ${what}`, await check(each)));
  return sum(reports);
}

const run = ({ file, args }: Runtime, cwd: string, script: string) =>
  command(file, [...args, script], { cwd, timeout: HANGS });

/** The command's demo: a process that replaces itself twice, and every byte verified. */
async function demo(folder: string, runtime: Runtime): Promise<Report> {
  const ended = await liveupdate(folder, runtime);
  const ok = ended.ok && /^verified +all bytes, in 2 new generations: identical$/m.test(ended.stdout);
  return single(`liveupdate demo, on ${runtime.title}`, { ...ended, ok });
}

function liveupdate(folder: string, runtime: Runtime): Promise<Ended> {
  const cli = workspace().find(({ name }) => name === '@liveupdate/cli');
  if (!cli) throw new Error('there is no command');
  const main = join(home(folder, cli), 'node_modules', cli.name, 'dist/main.js');
  const args = [...runtime.args, main, 'demo', '--size', '64MiB'];
  return command(runtime.file, args, { cwd: folder, timeout: HANGS });
}

/** What is thrown, what it says, and the files that are there afterwards. */
const REFUSALS = `
import { readdirSync } from 'node:fs';
import { Machine } from '@liveupdate/kexec';
import { MappedRam, Memfd, replaceProcess, trackWrites } from '@liveupdate/linux';

const name = 'refused-' + process.pid;
const size = 16 * 2 ** 20;
const path = '/dev/shm/' + name;
const calls = {
  machine: () => Machine.open({ name, size: '16MiB' }),
  create: () => MappedRam.create({ path, size }),
  open: () => MappedRam.open({ path }),
  anonymous: () => MappedRam.anonymous({ name, size }),
  fromFd: () => MappedRam.fromFd(0),
  memfd: () => Memfd.create(name, 0),
  replace: () => replaceProcess({ args: ['x.js'] }),
};
for (const [call, make] of Object.entries(calls)) {
  try {
    await make();
    console.log(call, 'returned');
  } catch (error) {
    console.log(call, error.name, error.code, error.message);
  }
}
console.log('left', readdirSync('/dev/shm').filter((file) => file.includes(name)));
`;
const REFUSAL =
  /^\w+ KernelError EOPNOTSUPP EOPNOTSUPP: mapped memory needs Node\.js [^\n]* this is (.*): start it/;
const CALLS = 7;

async function refused(folder: string, libraries: Package[], runtime: Runtime): Promise<Report> {
  const kexec = libraries.find(({ name }) => name === '@liveupdate/kexec');
  if (!kexec) throw new Error('there is no kexec');
  const cwd = home(folder, kexec);
  writeFileSync(join(cwd, 'refusals.mjs'), REFUSALS);
  const ended = await run(runtime, cwd, 'refusals.mjs');
  const lines = ended.stdout.trim().split('\n');
  const left = lines.pop();
  const ok = lines.length === CALLS && lines.every((line) => REFUSAL.exec(line)?.[1] === runtime.title);
  const shown = await liveupdate(folder, runtime);
  const isTold = !shown.ok && /^liveupdate: EOPNOTSUPP: mapped memory needs .*\n$/.test(shown.output);
  return {
    ...sum([
      single(`liveupdate demo says so, on ${runtime.title}`, { ...shown, ok: isTold }),
      single(`what needs another runtime says so, on ${runtime.title}`, {
        ...ended,
        ok: ended.ok && ok && left === 'left []',
      }),
    ]),
    notes: [lines[0]],
  };
}

/** Runs a bundle in a context that has the language, and of the rest what a page would have. */
const CONTEXT = `
const { readFileSync } = require('node:fs');
const { createContext, runInContext } = require('node:vm');
const { TextEncoder, TextDecoder } = globalThis;
const context = createContext({ console, TextEncoder, TextDecoder, performance, setTimeout, clearTimeout, queueMicrotask });
console.log('Symbol.dispose is', runInContext('typeof Symbol.dispose', context));
runInContext(readFileSync('page.js', 'utf8'), context);
`;
const ENTRY = `
import { handover } from './browser-page.ts';
handover().then((said) => console.log('done: ' + said), (error) => console.log('failed: ' + error.stack));
`;

/** A handover where the engine has no \`Symbol.dispose\`: contexts of node:vm, as Safari. */
async function inContext(folder: string, runtime: Runtime): Promise<Report> {
  const top = workspace().find(({ name }) => name === '@liveupdate/memfd-handler');
  if (!top) throw new Error('there is no memfd-handler');
  const cwd = home(folder, top);
  copyFileSync(join(import.meta.dirname, 'browser-page.ts'), join(cwd, 'browser-page.ts'));
  const { outputFiles } = await build({
    stdin: { contents: ENTRY, resolveDir: cwd },
    bundle: true,
    write: false,
    format: 'iife',
    target: 'node20',
    logLevel: 'silent',
  });
  mkdirSync(join(cwd, 'context'), { recursive: true });
  writeFileSync(join(cwd, 'context/page.js'), outputFiles[0].text);
  writeFileSync(join(cwd, 'context/main.cjs'), CONTEXT);
  const ended = await run(runtime, join(cwd, 'context'), 'main.cjs');
  const ok = ended.ok && /^Symbol.dispose is undefined\ndone: /.test(ended.stdout);
  return single(`a handover in a context without Symbol.dispose, on ${runtime.title}`, { ...ended, ok });
}
