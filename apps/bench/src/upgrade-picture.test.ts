/** The picture stands alone, and reads well in a browser. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readPictured, writePictured, type PicturedUpgrades } from './pictured-upgrades.ts';
import { fullResults } from './test-results.ts';
import { upgradePicture } from './upgrade-picture.ts';

const THEMES = ['light', 'dark'] as const;
const CHROMIUM = '/usr/bin/chromium';

/** As a machine could have measured it: the worst there is to draw. */
function pictured(): PicturedUpgrades {
  const moments = Array.from({ length: 300 }, (_, i) => (i > 50 && i < 66 ? 0 : 1000 + (i % 7)));
  const side = { failed: 1, closed: 1000, gap: 5, silence: 160, silenceEnd: 162, wait: 170, moments };
  const all = { failed: [0, 1], closed: [1000, 1000], gap: [5, 5], silence: [160, 161], wait: [170, 171] };
  return {
    version: 1,
    date: '2026-01-02T03:04:05.000Z',
    commit: undefined,
    built: true,
    machine: fullResults().machine,
    disturbance: { others: 0.01, stolen: 0, waiting: 0.02 },
    size: 2 ** 30,
    clients: 50,
    upgrades: 2,
    momentMs: 10,
    leadMs: 500,
    sides: [
      { side: 'standby', ...side, all },
      { side: 'lmdb', ...side, silence: 99_999, silenceEnd: 99_999, all },
    ],
  };
}

test('what is written is what is read; another version is refused', () => {
  const path = join(fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-picture-')), 'upgrade.json');
  try {
    writePictured(path, pictured());
    expect(readPictured(path)).toEqual(JSON.parse(JSON.stringify(pictured())));
    fs.writeFileSync(path, '{"version":0}');
    expect(() => readPictured(path)).toThrow(/no pictured upgrades of version 1/);
  } finally {
    fs.rmSync(join(path, '..'), { recursive: true });
  }
});

test.each(THEMES)('it stands alone and says in words what it shows: %s', async (theme) => {
  const svg = await upgradePicture(pictured(), theme);
  expect(svg.replace(/xmlns(:\w+)?="[^"]*"/g, '')).not.toMatch(/https?:|<script|<image|var\(|NaN|undefined/);
  expect(svg).toContain('nobody was answered for 160 ms, 1 request failed, 1000 connections ended');
  expect(svg).toContain('nobody was answered for 100.0 s');
  for (const word of ['requests answered in 10 ms', 'nobody is answered', 'milliseconds from'])
    expect(svg).toContain(`>${word}`);
  expect(svg.length).toBeLessThan(100_000);
});

/** Texts that lie over each other or are cut by the edge, found by the browser. */
const LOOK = `
  const edge = document.querySelector('svg').getBoundingClientRect();
  const texts = Array.from(document.querySelectorAll('text'))
    .filter((text) => text.getAttribute('opacity') !== '0' && text.textContent !== '')
    .map((text) => [text.textContent, text.getBoundingClientRect()]);
  const wrong = [];
  for (const [i, [content, box]] of texts.entries()) {
    if (box.left < edge.left || box.right > edge.right || box.top < edge.top || box.bottom > edge.bottom) wrong.push('cut: ' + content);
    for (const [other, its] of texts.slice(i + 1))
      if (box.left < its.right && its.left < box.right && box.top + 2 < its.bottom && its.top + 2 < box.bottom) wrong.push(content + ' / ' + other);
  }
  document.body.replaceChildren(JSON.stringify({ texts: texts.length, wrong }));
`;

test('in a browser nothing overlaps, and nothing is cut', async (context) => {
  if (!fs.existsSync(CHROMIUM))
    context.skip('no browser to open the picture in; on Debian: apt-get install -y chromium');
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-chromium-'));
  try {
    const page = join(folder, 'page.html');
    const svg = await upgradePicture(pictured(), 'light');
    fs.writeFileSync(page, `<!doctype html><body>${svg}<script>{${LOOK}}</script></body>`);
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync'];
    const own = [`--user-data-dir=${join(folder, 'profile')}`, '--window-size=1000,900'];
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-quic'];
    const dom = execFileSync(CHROMIUM, [...flags, ...quiet, ...own, '--dump-dom', `file://${page}`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 300_000, // ends what hangs
    });
    const seen = JSON.parse(/<body>(.*)<\/body>/s.exec(dom)![1]) as { texts: number; wrong: string[] };
    expect(seen.texts).toBeGreaterThan(20);
    expect(seen.wrong).toEqual([]);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
});
