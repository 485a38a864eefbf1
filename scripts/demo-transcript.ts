/**
 * Runs the demos and puts what they show into docs/, so that no figure there is typed by hand; and
 * types what pages show of a terminal.
 *
 *   npm run -s demo-transcript
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';

const page = (name: string): string => fileURLToPath(new URL(`../docs/${name}.md`, import.meta.url));

/** What `npm start` runs, in this order, and the pages that show it. */
export const DEMOS = {
  'demo-upgrade': page('run-a-service'),
  demo: page('kernel-developers'),
} as const;

/** Pages that show a terminal, see terminal-pages.ts. */
export const PAGES = ['docs/run-a-service.md', 'docs/kernel-developers.md'] as const;

export function transcriptOf(demo: string): string {
  return fileURLToPath(new URL(`../docs/${demo}.txt`, import.meta.url));
}

/** The page with this transcript between the marks of the demo. */
export function withTranscript(text: string, demo: string, transcript: string): string {
  const marked = new RegExp(`(<!-- ${demo}: begin -->\\n)[^]*?(<!-- ${demo}: end -->)`);
  if (!marked.test(text)) throw new Error(`the page has no marks for ${demo}`);
  return text.replace(
    marked,
    (_, begin: string, end: string) => `${begin}\n\`\`\`\n${transcript}\`\`\`\n\n${end}`,
  );
}

if (import.meta.main) {
  const { Terminal } = await import('./terminal-pages.ts');
  for (const page of PAGES) {
    await using terminal = await Terminal.open('dist');
    fs.writeFileSync(fileURLToPath(new URL(`../${page}`, import.meta.url)), await terminal.type(page));
  }
  const main = fileURLToPath(new URL('../packages/cli/dist/main.js', import.meta.url));
  for (const [demo, path] of Object.entries(DEMOS)) {
    const { status, stdout } = spawnSync('sh', ['-c', '"$0" "$1" "$2" 2>&1', process.execPath, main, demo], {
      encoding: 'utf8',
    });
    if (status !== 0) {
      process.stderr.write(stdout);
      throw new Error(`${demo} failed`);
    }
    // Where nobody watches, progress is lines of percent.
    const lines = stdout.split('\n').filter((line) => !/^ {2}\w+ \d+% of /.test(line));
    const transcript = `${lines.join('\n').trim()}\n`;
    fs.writeFileSync(transcriptOf(demo), transcript);
    fs.writeFileSync(path, withTranscript(fs.readFileSync(path, 'utf8'), demo, transcript));
  }
}
