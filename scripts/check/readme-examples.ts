/**
 * Every ts block of README.md, docs/*.md and the packages' READMEs is a program: it is
 * type-checked, run from where a reader would run it, ends with exit code 0, and prints what its
 * comments say: `console.log(answer); // 42`. A block after `<!-- example: file NAME -->` is a
 * file: other blocks of its page import it as './NAME', and it is type-checked but not run, because
 * a test or another block runs it.
 */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { command, HANGS, root, type Ended } from './command.ts';
import { single, skipped, sum, type Report } from './report.ts';
import { workspace } from './workspace.ts';

/**
 * Pages in docs/ import packages as this one does: its tests see what users and authors of handlers
 * install. The front page imports what the repository itself does.
 */
const TOP = 'packages/handler-testkit';

/** Pages that want more than that: what is there for the tests of another package. */
const AT_HOME: Readonly<Record<string, string>> = {
  'replacing-the-kernel.md': 'apps/interop',
  'write-a-socket-handler.md': 'packages/fd-handler',
};

/** Folder in a package for its extracted blocks; Git, ESLint and the rest ignore it. */
const FOLDER = `.examples/${process.pid}`;

/** A block of a page. */
interface Block {
  /** Where its first line stands in the page. */
  line: number;
  code: string;
  /** Name of the file that it is, where other blocks import it. */
  named?: string | undefined;
  runs: boolean;
}

interface Example extends Block {
  /** `docs/errors.md:12` */
  name: string;
  file: string;
}

/** Those of READMEs only. */
export async function quickExamples(): Promise<Report> {
  const reason = '--quick leaves them out: they are as many again';
  const report = await readmeExamples((page) => page.endsWith('README.md'));
  return sum([report, skipped('the examples of docs/', reason)]);
}

export async function readmeExamples(isWanted: (page: string) => boolean = () => true): Promise<Report> {
  const examples = pages()
    .filter(({ page }) => isWanted(page))
    .flatMap(({ page, dir }) => examplesOf(page, dir));
  if (examples.length === 0) return { passed: 0, failed: [], skipped: [], notes: ['no examples yet'] };
  const folders = new Set([TOP, ...pages().map(({ dir }) => dir)].map((dir) => join(root, dir, FOLDER)));
  try {
    for (const { file, code } of examples) {
      mkdirSync(join(file, '..'), { recursive: true });
      writeFileSync(file, code);
    }
    const reports = [await typeCheck(examples)];
    for (const example of examples) if (example.runs) reports.push(await run(example));
    return sum(reports);
  } finally {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }
}

/** Pages, each with the package that its examples live in. */
function pages(): { page: string; dir: string }[] {
  const docs = existsSync(join(root, 'docs')) ? readdirSync(join(root, 'docs'), { recursive: true }) : [];
  return [
    { page: 'README.md', dir: '.' },
    ...docs
      .map(String)
      .filter((name) => name.endsWith('.md'))
      .sort()
      .map((name) => ({ page: `docs/${name}`, dir: AT_HOME[name] ?? TOP })),
    ...workspace().map(({ dir }) => ({ page: `${dir}/README.md`, dir })),
  ].filter(({ page }) => existsSync(join(root, page)));
}

/** The blocks of a page, as modules. */
export function extract(text: string): Block[] {
  const blocks = text.matchAll(/(?:<!-- example: file (\S+) -->\s*\n)?^```ts\b[^\n]*\n(.*?)^```/gms);
  return [...blocks].map((match) => {
    const named = match[1] as string | undefined;
    const line = text.slice(0, match.index + match[0].indexOf('```ts')).split('\n').length + 1;
    return { line, code: `${match[2]}\nexport {};\n`, named, runs: named === undefined }; // a module, whatever it imports
  });
}

function examplesOf(page: string, dir: string): Example[] {
  const folder = join(root, dir, FOLDER, page.replaceAll('/', '-').replace(/\.md$/, ''));
  return extract(readFileSync(join(root, page), 'utf8')).map((block) => ({
    ...block,
    name: `${page}:${block.line}`,
    file: join(folder, block.named === undefined ? `line-${block.line}.ts` : basename(block.named)),
  }));
}

/**
 * Fails a program that did not print, in this order, what the comments after its console.log say.
 */
export function withPromises(code: string, ended: Ended): Ended {
  const lines = ended.stdout.split('\n');
  for (const [, promised] of code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)) {
    const at = lines.indexOf(promised);
    if (at < 0) return { ...ended, ok: false, output: `${ended.output}\nit does not print: ${promised}` };
    lines.splice(0, at + 1);
  }
  return ended;
}

async function typeCheck(examples: Example[]): Promise<Report> {
  const config = join(root, TOP, FOLDER, 'tsconfig.json');
  mkdirSync(join(config, '..'), { recursive: true });
  const files = examples.map(({ file }) => file);
  writeFileSync(config, JSON.stringify({ extends: join(root, 'tsconfig.base.json'), files }));
  return single('types of the examples', await command('tsc', ['-p', config]));
}

async function run({ name, file, code }: Example): Promise<Report> {
  const cwd = mkdtempSync(join(tmpdir(), 'liveupdate-example-')); // what an example writes goes there
  try {
    const args = ['--conditions=@liveupdate/source', '--disable-warning=ExperimentalWarning', file];
    return single(name, withPromises(code, await command('node', args, { cwd, timeout: HANGS })));
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}
