/**
 * A picture of upgrades under load: how many requests are answered in each moment, a row for each
 * side, all on the same axes. It stands alone, in light and in dark.
 */
import { formatSize } from '@liveupdate/base';
import { picture, rowsChart } from './charts.ts';
import { themedPath, THEMES, type Theme } from './page-style.ts';
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

function picturePath(results: string, theme: Theme): string {
  return themedPath(results.replace(/\.json$/, ''), theme);
}

/** All pictures of a results file, by path. */
export async function upgradePictures(
  results: string,
  upgrades: PicturedUpgrades,
): Promise<Map<string, string>> {
  const pictures = new Map<string, string>();
  for (const theme of THEMES)
    pictures.set(picturePath(results, theme), await upgradePicture(upgrades, theme));
  return pictures;
}

/** All sides, a row each, in the colours of this theme. */
export async function upgradePicture(upgrades: PicturedUpgrades, theme: Theme): Promise<string> {
  const { sides } = upgrades;
  const most = Math.max(...sides.flatMap((side) => shown(upgrades, side).map(({ answers }) => answers)));
  const rows = sides.map((side, i) => row(upgrades, side, { most, isLast: i === sides.length - 1 }));
  const chart = rowsChart(
    `An upgrade under load: ${upgrades.clients} clients, ${formatSize(upgrades.size)} of state`,
    rows,
  );
  return picture(chart, theme, sides.map((side) => `${NAMES[side.side]}: ${told(side)}.`).join(' '));
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
