/** The page that `inspect --html` prints, as Chromium shows it. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Directory, LINUX_IMAGE, newMachine, preserveFile, runHere } from './test-cli.ts';

const CHROMIUM = '/usr/bin/chromium';

interface Seen {
  readonly errors: readonly string[];
  readonly scrolls: boolean;
  readonly background: string;
  readonly colours: number;
  readonly tip: string;
  readonly all: string;
  readonly zoomed: string;
  readonly moved: string;
  readonly again: string;
}

/** Runs in the browser, at the end of a copy of the page. */
const LOOK = `
  const colours = new Set(new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer));
  const all = where.textContent;
  const box = canvas.getBoundingClientRect();
  const at = (frame) => ({ clientX: box.left + (((Math.floor(frame / perCell()) % COLUMNS) + 0.5) / COLUMNS) * box.width,
    clientY: box.top + ((Math.floor(frame / perCell() / COLUMNS) + 0.5) / ROWS) * box.height, bubbles: true, cancelable: true });
  canvas.dispatchEvent(new PointerEvent('pointermove', at(0x4d8)));
  const tipText = tip.textContent;
  for (let i = 0; i < 4; i++) canvas.dispatchEvent(new WheelEvent('wheel', { ...at(0), deltaY: -1 }));
  const zoomed = where.textContent;
  canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));
  const moved = where.textContent;
  document.querySelector('button[data-key="0"]').click();
  const { scrollWidth, clientWidth } = document.documentElement;
  const seen = { errors, scrolls: scrollWidth > clientWidth, background: getComputedStyle(document.body).backgroundColor,
    colours: colours.size, tip: tipText, all, zoomed, moved, again: where.textContent };
  document.body.replaceChildren(JSON.stringify(seen));
`;

function open(directory: Directory, page: string, scheme: 'light' | 'dark', width: number): Seen {
  const watched = page.replace(
    '<body>',
    "<body><script>const errors = []; addEventListener('error', (event) => errors.push(event.message));</script>",
  );
  const file = directory.write('page.html', watched.replace('</body>', `<script>${LOOK}</script></body>`));
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const own = [`--user-data-dir=${join(directory.path, 'profile')}`, `--window-size=${width},1600`];
  const colours = `--blink-settings=preferredColorScheme=${scheme === 'dark' ? 0 : 1}`;
  const dom = execFileSync(CHROMIUM, [...flags, ...quiet, ...own, colours, '--dump-dom', `file://${file}`], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 300_000,
  });
  const text = /<body>(.*)<\/body>/s.exec(dom)?.[1] ?? '{}';
  return JSON.parse(text.replaceAll('&amp;', '&')) as Seen;
}

test.skipIf(!fs.existsSync(CHROMIUM)).each([
  ['light', 1200],
  ['dark', 1200],
  ['light', 380],
] as const)(
  '%s, %i pixels wide: the map is drawn, zooms, moves and tells what is where',
  async (scheme, width) => {
    using directory = new Directory();
    const { stdout } = await runHere('inspect', '--html', LINUX_IMAGE);
    const seen = open(directory, stdout, scheme, width);
    expect(seen.errors).toEqual([]);
    expect(seen.scrolls).toBe(false);
    expect(seen.background).toBe(scheme === 'dark' ? 'rgb(23, 23, 26)' : 'rgb(255, 255, 255)');
    expect(seen.colours).toBeGreaterThan(4);
    expect(seen.all).toBe('0x0 to 0x10000000, 44 KiB a square');
    expect(seen.tip).toMatch(/^0x4d\w+ \+ 44 KiB\n(.*\n)*(the handover's own pages|device tree) {2}/);
    expect(seen.zoomed).toMatch(/^0x0 to 0x1000000, /);
    expect(seen.moved).toMatch(/^0x400000 to 0x1400000, /);
    expect(seen.again).toBe(seen.all);
  },
);

test('a page stands alone, and what stands in an image is escaped', async () => {
  using directory = new Directory();
  const path = `${directory.path}/ram`;
  const machine = await newMachine(path, '1MiB');
  await preserveFile(machine, '</script><script>alert(1)</script>', 1n, Buffer.from('x'));
  await machine.handOver();
  const { status, stdout } = await runHere('inspect', '--html', path);
  expect(status).toBe(0);
  expect(stdout).not.toMatch(/https?:|<link|<img|url\(|@import/);
  expect(stdout).not.toContain('<script>alert');
  expect(stdout.match(/<script/g)).toHaveLength(2);
  expect((await runHere('inspect', '--html', '--json', path)).status).toBe(2);
});
