/**
 * The style of the HTML report: light or dark as the reader's system is, and nothing from
 * elsewhere.
 */
const LIGHT = {
  page: '#ffffff',
  card: '#f6f7f9',
  text: '#1a1d21',
  faint: '#5c6570',
  grid: '#d5dae0',
  pass: '#12703a',
  fail: '#b3261e',
  colours: ['#1f5fd0', '#c76a00', '#15803d', '#8a35c9', '#c2263f', '#0b7285', '#6b7280'],
};
const DARK: typeof LIGHT = {
  page: '#14171a',
  card: '#1d2125',
  text: '#e6e9ec',
  faint: '#9aa4ae',
  grid: '#363d44',
  pass: '#5fd08a',
  fail: '#ff8a80',
  colours: ['#7aa8ff', '#f5a742', '#5cc98a', '#c794ff', '#ff7d8d', '#4fcbdc', '#9ca3af'],
};

export const THEMES = ['light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

/** Where the picture of that name is. */
export function themedPath(name: string, theme: Theme): string {
  return `${name}-${theme}.svg`;
}

/** Markdown that shows it light or dark, as the reader's page is. */
export function themedPicture(name: string, alt: string): string {
  return [
    '<picture>',
    `  <source media="(prefers-color-scheme: dark)" srcset="${themedPath(name, 'dark')}">`,
    `  <img alt="${alt}" src="${themedPath(name, 'light')}">`,
    '</picture>',
  ].join('\n');
}

/** A picture that stands outside of a page, with a theme's colours in place of their names. */
export function inColours(theme: Theme, svg: string): string {
  const { colours, ...named } = theme === 'light' ? LIGHT : DARK;
  return svg.replace(/var\(--(?:c(\d+)|(\w+))\)/g, (_, number?: string, name?: string) =>
    number === undefined ? named[name as keyof typeof named] : colours[Number(number)],
  );
}

function variables({ colours, ...named }: typeof LIGHT): string {
  const all = [...Object.entries(named), ...colours.map((colour, i) => [`c${i}`, colour] as const)];
  return all.map(([name, value]) => `--${name}:${value}`).join(';');
}

export const PAGE_STYLE = `
:root{color-scheme:light dark;${variables(LIGHT)}}
@media (prefers-color-scheme:dark){:root{${variables(DARK)}}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px 16px 48px;max-width:1360px;background:var(--page);color:var(--text);font:15px/1.5 system-ui,'DejaVu Sans',sans-serif}
h1{font-size:26px;margin:0 0 4px}
h2{font-size:19px;margin:36px 0 12px}
p{margin:0 0 8px;color:var(--faint);max-width:80em}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,560px),1fr));gap:20px}
figure{margin:0;padding:14px 16px 10px;background:var(--card);border-radius:8px;min-width:0}
figcaption{font-weight:600}
svg{display:block;width:100%;height:auto;margin-top:6px}
.scroll{overflow-x:auto}
table{margin-bottom:20px;border-collapse:collapse;font-size:14px;width:100%}
th,td{padding:5px 12px 5px 0;border-bottom:1px solid var(--grid);text-align:left;vertical-align:top}
th{font-weight:600;color:var(--faint)}
td{font-variant-numeric:tabular-nums}
.pass{color:var(--pass);font-weight:600}
.fail{color:var(--fail);font-weight:600}
details{margin-top:8px;color:var(--faint)}
`;
