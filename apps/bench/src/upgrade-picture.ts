/**
 * A picture of upgrades under load: how many requests are answered in each moment, a row for each
 * side, all on the same axes. It stands alone, in light and in dark.
 */
import * as fs from 'node:fs';
import { formatSize } from '@liveupdate/base';
import type { TopLevelSpec } from 'vega-lite';
import { COMMON, drawn } from './charts.ts';
import { escapeHtml } from './escape-html.ts';
import { inColours, type Theme } from './page-style.ts';
import type { PicturedSide, PicturedUpgrades } from './pictured-upgrades.ts';
import { time } from './tables.ts';

/** What a row is called. */
const NAMES: Readonly<Record<PicturedSide['side'], string>> = {
  standby: 'liveupdate: the next version stands by and takes over',
  workers: 'two workers over LMDB, rolled one after the other',
  lmdb: 'restarted, state in LMDB',
  heap: 'restarted, state in the heap: written to tmpfs and read again',
};

const WIDTH = 760;
const ROW_HEIGHT = 76;
/** Milliseconds behind the upgrade that are shown. */
const SHOWN_MS = 1500;

const ANSWERS = 'requests answered in 10 ms';
const NOBODY = 'nobody is answered';

const THEMES: readonly Theme[] = ['light', 'dark'];

/** Where the picture of a results file is. */
export function picturePath(results: string, theme: Theme): string {
  return `${results.replace(/\.json$/, '')}-${theme}.svg`;
}

/** Draws it beside its results file. */
export async function writePictures(results: string, upgrades: PicturedUpgrades): Promise<void> {
  for (const theme of THEMES)
    fs.writeFileSync(picturePath(results, theme), await upgradePicture(upgrades, theme));
}

/** All sides, a row each, in the colours of this theme. */
export async function upgradePicture(upgrades: PicturedUpgrades, theme: Theme): Promise<string> {
  const { sides } = upgrades;
  const most = Math.max(...sides.flatMap((side) => shown(upgrades, side).map(({ answers }) => answers)));
  const rows = sides.map((side, i) => row(upgrades, side, { most, isLast: i === sides.length - 1 }));
  const spec = {
    ...COMMON,
    autosize: undefined,
    width: undefined,
    padding: 14,
    background: 'var(--page)',
    title: {
      text: `An upgrade under load: ${upgrades.clients} clients, ${formatSize(upgrades.size)} of state`,
      anchor: 'start',
      color: 'var(--text)',
      fontSize: 15,
      offset: 14,
    },
    spacing: 14,
    vconcat: rows,
  };
  // Vega numbers the parts of all pictures of a process: here each begins anew.
  const names = new Map<string, string>();
  const svg = (await drawn(spec as unknown as TopLevelSpec)).replace(/\b(clip|gradient_)(\d+)\b/g, (name) => {
    if (!names.has(name)) names.set(name, `part${names.size}`);
    return names.get(name)!;
  });
  return `${inColours(theme, described(upgrades, svg))}\n`;
}

/** Answers of the moments that are shown. */
function shown(
  { momentMs, leadMs }: PicturedUpgrades,
  { moments }: PicturedSide,
): { at: number; answers: number }[] {
  return moments
    .map((answers, i) => ({ at: i * momentMs - leadMs, answers }))
    .filter(({ at }) => at <= SHOWN_MS);
}

/** What its clients met, in words. */
function told({ silence, failed, closed }: PicturedSide): string {
  const count = (many: number, what: string): string => `${many} ${what}${many === 1 ? '' : 's'}`;
  return `nobody was answered for ${time(silence)}, ${count(failed, 'request')} failed, ${count(closed, 'connection')} ended`;
}

function row(
  upgrades: PicturedUpgrades,
  side: PicturedSide,
  { most, isLast }: { most: number; isLast: boolean },
): object {
  const values = shown(upgrades, side);
  const until = Math.min(side.silenceEnd, SHOWN_MS);
  const silence = [{ from: side.silenceEnd - side.silence, until, what: NOBODY }];
  const x = {
    type: 'quantitative',
    scale: { domain: [-upgrades.leadMs, SHOWN_MS], nice: false },
    axis: {
      title: isLast ? 'milliseconds from the beginning of the upgrade on' : null,
      labels: isLast,
      values: Array.from({ length: 9 }, (_, i) => i * 250 - upgrades.leadMs),
    },
  };
  const colour = {
    type: 'nominal',
    scale: { domain: [ANSWERS, NOBODY], range: ['var(--c0)', 'var(--c4)'] },
    legend: { symbolType: 'square', columns: 2, offset: 8 },
  };
  const y = {
    type: 'quantitative',
    scale: { domain: [0, most] },
    axis: { title: null, tickCount: 3, format: 'd' },
  };
  return {
    width: WIDTH,
    height: ROW_HEIGHT,
    title: {
      text: NAMES[side.side],
      subtitle: told(side),
      anchor: 'start',
      color: 'var(--text)',
      subtitleColor: 'var(--faint)',
      fontSize: 13,
      subtitleFontSize: 12,
      offset: 6,
    },
    layer: [
      {
        data: { values: values.map((value) => ({ ...value, what: ANSWERS })) },
        mark: { type: 'area', interpolate: 'step-after', clip: true },
        encoding: {
          x: { field: 'at', ...x },
          y: { field: 'answers', ...y },
          color: { field: 'what', ...colour },
        },
      },
      {
        data: { values: silence },
        mark: { type: 'rect', clip: true, opacity: 0.75 },
        encoding: {
          x: { field: 'from', ...x },
          x2: { field: 'until' },
          y: { value: 0 },
          y2: { value: ROW_HEIGHT },
          color: { field: 'what', ...colour },
        },
      },
      {
        data: { values: [{ at: 0 }] },
        mark: { type: 'rule', strokeDash: [4, 3], stroke: 'var(--text)' },
        encoding: { x: { field: 'at', ...x } },
      },
    ],
  };
}

/** With what it shows in words, for those who do not see it. */
function described(upgrades: PicturedUpgrades, svg: string): string {
  const words = upgrades.sides.map((side) => `${NAMES[side.side]}: ${told(side)}.`).join(' ');
  return svg.replace(
    /^(<svg[^>]*)>/,
    (_, open: string) =>
      `${open} role="img"><title>Requests answered in each ${upgrades.momentMs} ms of an upgrade</title><desc>${escapeHtml(words)}</desc>`,
  );
}
