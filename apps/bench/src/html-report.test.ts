import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { htmlReport } from './html-report.ts';
import { fullResults, resultsOf, run } from './test-results.ts';

const CHROMIUM = '/usr/bin/chromium';

test('a page stands alone: nothing is loaded, nothing is run, what stands in it is escaped', async () => {
  const page = await htmlReport(fullResults());
  expect(page).not.toMatch(/https?:|<script|<link|<img|url\(|@import/);
  expect(page).toContain('Test &#38; &#60;CPU&#62;');
  expect(page.match(/<figure>/g)).toHaveLength(4);
  expect(page).not.toMatch(/NaN|Infinity|undefined/);
});

test('a page of little shows what there is', async () => {
  const page = await htmlReport(
    resultsOf([run('first', 2 ** 30, { preserve: [4], unpreserve: [2], copy: [300] })]),
  );
  expect(page).not.toContain('<figure>');
  expect(page).toContain('first preserve of a process');
  expect(await htmlReport(resultsOf([]))).toContain('</html>');
});

/** What a reader would stumble over, found by the browser itself. */
interface Seen {
  /** Texts of a chart that lie over each other, or are cut by its edge. */
  readonly overlapping: string[];
  readonly cut: string[];
  readonly scrolls: boolean;
  readonly background: string;
  readonly textColour: string;
  readonly charts: number;
}

/** Runs in the browser, at the end of a copy of the page. */
const LOOK = `
  const overlapping = [], cut = [];
  const charts = Array.from(document.querySelectorAll('svg'));
  for (const chart of charts) {
    const edge = chart.getBoundingClientRect();
    const shown = Array.from(chart.querySelectorAll('text')).filter((text) => text.getAttribute('opacity') !== '0');
    const texts = shown.map((text) => [text.textContent, text.getBoundingClientRect()]);
    for (const [i, [content, box]] of texts.entries()) {
      if (box.left < edge.left || box.right > edge.right || box.top < edge.top || box.bottom > edge.bottom) cut.push(content);
      for (const [other, its] of texts.slice(i + 1)) {
        const across = box.left < its.right && its.left < box.right;
        const down = box.top + 2 < its.bottom && its.top + 2 < box.bottom;
        if (across && down) overlapping.push(content + ' / ' + other);
      }
    }
  }
  const { backgroundColor: background, color: textColour } = getComputedStyle(document.body);
  const { scrollWidth, clientWidth } = document.documentElement;
  const seen = { overlapping, cut, scrolls: scrollWidth > clientWidth, background, textColour, charts: charts.length };
  document.body.replaceChildren(JSON.stringify(seen));
`;

function open(page: string, scheme: 'light' | 'dark', width: number): Seen {
  const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-chromium-'));
  try {
    const file = join(directory, 'page.html');
    fs.writeFileSync(file, page.replace('</body>', `<script>{${LOOK}}</script></body>`));
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
    const own = [`--user-data-dir=${join(directory, 'profile')}`, `--window-size=${width},2400`];
    const colours = `--blink-settings=preferredColorScheme=${scheme === 'dark' ? 0 : 1}`;
    const dom = execFileSync(
      CHROMIUM,
      [...flags, ...quiet, ...own, colours, '--dump-dom', `file://${file}`],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
        timeout: 300_000, // ends what hangs
      },
    );
    return JSON.parse(/<body>(.*)<\/body>/s.exec(dom)![1]) as Seen;
  } finally {
    fs.rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

test.for([
  ['light', 1400, 'rgb(255, 255, 255)', 'rgb(26, 29, 33)'],
  ['dark', 1400, 'rgb(20, 23, 26)', 'rgb(230, 233, 236)'],
  ['dark', 700, 'rgb(20, 23, 26)', 'rgb(230, 233, 236)'],
] as const)(
  'in a browser, %s and %s wide: nothing overlaps, nothing is cut',
  async ([scheme, width, background, textColour], context) => {
    if (!fs.existsSync(CHROMIUM))
      context.skip('no browser to open the page in; on Debian: apt-get install -y chromium');
    const seen = open(await htmlReport(fullResults()), scheme, width);
    const good = { overlapping: [], cut: [], scrolls: false, charts: 4 };
    expect(seen).toEqual({ ...good, background, textColour });
  },
);
