/**
 * Runs the demo and puts what it shows into docs/demo.txt and the README, so that no figure there
 * is typed by hand.
 *
 *   npm run -s demo-transcript
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';

export const TRANSCRIPT = fileURLToPath(new URL('../docs/demo.txt', import.meta.url));
export const README = fileURLToPath(new URL('../README.md', import.meta.url));
const MARKED = /(<!-- demo: begin -->\n)[^]*?(<!-- demo: end -->)/;

/** The README with this transcript between its marks. */
export function withTranscript(readme: string, transcript: string): string {
  if (!MARKED.test(readme)) throw new Error('README.md has no marks for the demo');
  return readme.replace(
    MARKED,
    (_, begin: string, end: string) => `${begin}\n\`\`\`\n${transcript}\`\`\`\n\n${end}`,
  );
}

if (import.meta.main) {
  const main = fileURLToPath(new URL('../packages/cli/dist/main.js', import.meta.url));
  const { status, stdout } = spawnSync('sh', ['-c', '"$0" "$1" demo 2>&1', process.execPath, main], {
    encoding: 'utf8',
  });
  if (status !== 0) {
    process.stderr.write(stdout);
    throw new Error('the demo failed');
  }
  // Where nobody watches, progress is lines of percent.
  const lines = stdout.split('\n').filter((line) => !/^ {2}\w+ \d+% of /.test(line));
  const transcript = `$ npm start\n\n${lines.join('\n').trim()}\n`;
  fs.writeFileSync(TRANSCRIPT, transcript);
  fs.writeFileSync(README, withTranscript(fs.readFileSync(README, 'utf8'), transcript));
}
