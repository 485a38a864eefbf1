/**
 * Results as one HTML page that stands alone: charts, the figures with their goals, and where the
 * time goes.
 */
import { figure } from './charts.ts';
import { escapeHtml } from './escape-html.ts';
import { PAGE_STYLE } from './page-style.ts';
import {
  circumstances,
  disturbanceTable,
  figureRows,
  nameOfHot,
  omissions,
  profileTables,
  rateTable,
} from './report.ts';
import { resultCharts } from './result-charts.ts';
import type { Results } from './results-format.ts';
import type { Rows } from './tables.ts';

export async function htmlReport(results: Results): Promise<string> {
  const charts = await Promise.all(Object.values(resultCharts(results)).map(figure));
  const [where, machine, ...busy] = circumstances(results);
  const left = omissions(results).map((line) => `<p>${escapeHtml(line)}</p>`);
  const profiles = profileTables(results).map(table);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Live update: what it costs</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<h1>Live update: what it costs</h1>
<p>${escapeHtml(where)} ${escapeHtml(busy.join(' '))}</p>
<p>${escapeHtml(machine)}</p>
<h2>Charts</h2>
<div class="charts">
${charts.join('\n')}
</div>
<h2>Figures</h2>
${table(figureRows(results))}
${left.join('\n')}
${profiles.length > 0 ? `<h2>Where the time goes</h2>\n${profiles.join('\n')}` : ''}
${hotSpots(results)}
<details><summary>How busy the machine was, and what the baselines came to</summary>${[...disturbanceTable(results), ...rateTable(results)].map(table).join('\n')}</details>
</body>
</html>
`;
}

/** The first row is the head; a cell that is a verdict is coloured. */
function table([head, ...rows]: Rows): string {
  const headCells = head.map((cell) => `<th>${escapeHtml(cell)}</th>`).join('');
  const body = rows.map((row) => {
    const cells = row.map((cell) => {
      const verdict = cell === 'pass' || cell === 'fail' ? ` class="${cell}"` : '';
      return `<td${verdict}>${escapeHtml(cell)}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr>${headCells}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}

/** The names behind the numbers. */
function hotSpots({ profile }: Results): string {
  return profile
    .map(({ title, phases: counted, start }) => {
      const rows = counted.map(({ phase, functions, symbols }) => [
        phase,
        functions.map(nameOfHot).join(', '),
        symbols.map(nameOfHot).join(', '),
      ]);
      rows.push(['start of the next generation', start.map(nameOfHot).join(', '), '']);
      const names = table([[title, 'JavaScript functions', 'all of the machine (perf)'], ...rows]);
      return `<details><summary>Functions, ${escapeHtml(title)}</summary>${names}</details>`;
    })
    .join('\n');
}
