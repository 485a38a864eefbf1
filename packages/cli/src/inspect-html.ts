/**
 * An inspection as a page that stands alone: the text of `inspect`, and a map of physical memory to
 * zoom and hover. Nothing is loaded, and what comes out of the image is escaped.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { inspectionText } from './inspect-text.ts';
import type { Inspection } from './inspection.ts';
import { MAP_SCRIPT } from './map-script.ts';
import { IN_SCRATCH, memoryRuns, NOBODY, STRUCTURE } from './memory-runs.ts';
import { printable } from './output.ts';

const STYLE = `
:root { color-scheme: light dark; --page: #fff; --ink: #1c1c1e; --dim: #636366; --free: #ececf0;
  --nobody: #d70015; --scratch: #b9b9c0; --structure: #6e6e78; --several: #8a5a00; --vivid: 60% 45%; }
@media (prefers-color-scheme: dark) { :root { --page: #17171a; --ink: #f2f2f7; --dim: #a1a1aa; --free: #2a2a2f;
  --nobody: #ff6961; --scratch: #55555e; --structure: #9a9aa6; --several: #d6a54a; --vivid: 60% 62%; } }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; }
canvas { display: block; width: 100%; height: auto; cursor: crosshair; touch-action: none; }
canvas:focus-visible { outline: 2px solid var(--dim); outline-offset: 3px; }
pre { overflow-x: auto; font: 13px/1.45 ui-monospace, monospace; }
#tip { min-height: 8.5em; margin: .5rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
button { font: inherit; min-width: 2.2em; } .dim { color: var(--dim); }
.key { display: inline-block; margin-right: 1.2em; } .key i { display: inline-block; width: .8em; height: .8em;
  margin-right: .4em; }
`;

/** Text as it stands in HTML, in attributes too. */
function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The page. */
export function inspectionHtml(inspection: Inspection): string {
  const { image, handover, ownership } = inspection;
  const runs = memoryRuns(handover.table, ownership.ownerOf);
  const owners = ownership.names.map(printable);
  const data = { frames: handover.table.frames, page: PAGE_SIZE, owners, runs };
  const title = `liveupdate: ${printable(image.path)}`;
  const text = inspectionText(inspection, { colour: false, all: true });
  const keys = [
    [IN_SCRATCH, 'scratch', '--scratch'],
    [NOBODY, 'preserved, nobody’s', '--nobody'],
    [STRUCTURE, 'the handover’s own pages', '--structure'],
  ]
    .filter(([kind]) => runs.some(([, , owner]) => owner === kind))
    .map(
      ([, name, colour]) =>
        `<span class="key"><i style="background:var(${colour})"></i>${escape(String(name))}</span>`,
    );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escape(title)}</title><style>${STYLE}</style></head>
<body><h1>${escape(title)}</h1>
<h2>Physical memory</h2>
<p><button data-key="+" aria-label="zoom in">+</button> <button data-key="-" aria-label="zoom out">−</button>
<button data-key="0">all</button> <span id="where" class="dim"></span></p>
<canvas id="map" tabindex="0" role="img" aria-label="map of physical memory"></canvas>
<pre id="tip" aria-live="polite"></pre>
<p>${keys.join('')}<span class="key">other colours: files and records, a colour each</span></p>
<h2>What it holds</h2>
<pre>${escape(text)}</pre>
<script type="application/json" id="data">${JSON.stringify(data).replaceAll('<', '\\u003c')}</script>
<script>${MAP_SCRIPT}</script>
</body></html>
`;
}
