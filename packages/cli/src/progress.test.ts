/** What a bar does to the terminal is undone, however the process ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';

const HIDDEN = '\u001b[?25l';
const SHOWN = '\u001b[?25h';

const ENDS: [how: string, before: string, after: string, ended: [number | null, string | null]][] = [
  ['by a signal that nobody listens to', '', '', [null, 'SIGINT']],
  [
    'by a signal that ends it in its own way',
    "process.once('SIGINT', () => process.exit(130));",
    '',
    [130, null],
  ],
  ['by itself', '', 'process.exit(3);', [3, null]],
];

test.each(ENDS)('a process that ends %s leaves the cursor where it was', async (_, before, after, ended) => {
  const code = `
    import { startProgress } from './progress.ts';
    Object.defineProperty(process.stderr, 'isTTY', { value: true });
    ${before}
    const progress = await startProgress('work', 100);
    progress.add(10);
    setInterval(() => undefined, 1000);
    console.log('ready');
    ${after}`;
  const args = [
    '--conditions=@liveupdate/source',
    '--no-warnings',
    '--input-type=module-typescript',
    '-e',
    code,
  ];
  const child = spawn(process.execPath, args, { cwd: import.meta.dirname });
  const exit = once(child, 'exit');
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (part: string) => (text += part));
  child.stdout.once('data', () => {
    if (after === '') child.kill('SIGINT');
  });
  expect(await exit).toEqual(ended);
  const count = (what: string): number => text.split(what).length - 1;
  expect([count(HIDDEN) > 0, count(SHOWN)]).toEqual([true, count(HIDDEN)]);
});
