/**
 * Every ts block of README.md, docs/*.md and the packages' READMEs is a program: it is type-checked, run from where a reader would
 * run it, and ends with exit code 0. A block after `<!-- example: file NAME -->` is a file: other blocks of its page import it as
 * './NAME', and it is type-checked but not run, because a test or another block runs it.
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
import { command, root } from './command.ts';
import { single, sum, type Report } from './report.ts';
import { workspace } from './workspace.ts';

const TIMEOUT = 60_000;

/** Pages of the repository itself import packages as this one does: it stands above all others. */
const TOP = 'packages/cli';

/** Folder in a package for its extracted blocks; Git, ESLint and the rest ignore it. */
const FOLDER = `.examples/${process.pid}`;

interface Example {
  /** `docs/errors.md:12`, where the block's first line stands. */
  name: string;
  code: string;
  /** The package that it lives in. */
  dir: string;
  file: string;
  runs: boolean;
}

export async function readmeExamples(): Promise<Report> {
  const examples = pages().flatMap(({ page, dir }) => extract(page, dir));
  if (examples.length === 0) return { passed: 0, failed: [], skipped: [], notes: ['no examples yet'] };
  const folders = new Set([TOP, ...examples.map(({ dir }) => dir)].map((dir) => join(root, dir, FOLDER)));
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
    { page: 'README.md', dir: TOP },
    ...docs
      .map(String)
      .filter((name) => name.endsWith('.md'))
      .sort()
      .map((name) => ({ page: `docs/${name}`, dir: TOP })),
    ...workspace().map(({ dir }) => ({ page: `${dir}/README.md`, dir })),
  ].filter(({ page }) => existsSync(join(root, page)));
}

function extract(page: string, dir: string): Example[] {
  const text = readFileSync(join(root, page), 'utf8');
  const folder = join(root, dir, FOLDER, page.replaceAll('/', '-').replace(/\.md$/, ''));
  const blocks = text.matchAll(/(?:<!-- example: file (\S+) -->\s*\n)?^```ts\b[^\n]*\n(.*?)^```/gms);
  return [...blocks].map((match) => {
    const all = match[0];
    const named = match[1] as string | undefined;
    const code = match[2];
    const line = text.slice(0, match.index + all.indexOf('```ts')).split('\n').length + 1;
    return {
      name: `${page}:${line}`,
      code: `${code}\nexport {};\n`, // a module, whatever it imports
      dir,
      file: join(folder, named === undefined ? `line-${line}.ts` : basename(named)),
      runs: named === undefined,
    };
  });
}

async function typeCheck(examples: Example[]): Promise<Report> {
  const config = join(root, TOP, FOLDER, 'tsconfig.json');
  mkdirSync(join(config, '..'), { recursive: true });
  const files = examples.map(({ file }) => file);
  writeFileSync(config, JSON.stringify({ extends: join(root, 'tsconfig.base.json'), files }));
  return single('types of the examples', await command('tsc', ['-p', config]));
}

async function run({ name, file }: Example): Promise<Report> {
  const cwd = mkdtempSync(join(tmpdir(), 'liveupdate-example-')); // what an example writes goes there
  try {
    const args = ['--conditions=@liveupdate/source', '--disable-warning=ExperimentalWarning', file];
    return single(name, await command('node', args, { cwd, timeout: TIMEOUT }));
  } finally {
    rmSync(cwd, { recursive: true, force: true });
  }
}
