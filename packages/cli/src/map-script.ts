/**
 * The script of the page that `inspect --html` writes, as text: it draws the map of memory. Wheel
 * and `+`, `-` zoom, dragging and the arrow keys move, `0` shows all.
 */
export const MAP_SCRIPT = `
const data = JSON.parse(document.getElementById('data').textContent);
const canvas = document.getElementById('map');
const tip = document.getElementById('tip');
const where = document.getElementById('where');
const { frames, runs, owners, page } = data;
const COLUMNS = 128, ROWS = 48, CELL = 7;
let from = 0, to = frames, cells = [];
const hex = (n) => '0x' + n.toString(16);
const size = (bytes) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (bytes >= 1024 && i < 4) { bytes /= 1024; i += 1; }
  return Number(bytes.toFixed(2)) + ' ' + units[i];
};
const nameOf = (owner) => owner >= 0 ? owners[owner] : ['nobody that is known', 'scratch', "the handover's own pages", 'several owners'][-1 - owner];
const colourOf = (owner) => {
  const style = getComputedStyle(document.documentElement);
  if (owner < 0) return style.getPropertyValue(['--nobody', '--scratch', '--structure', '--several'][-1 - owner]);
  return 'hsl(' + (owner * 47) % 360 + ' ' + style.getPropertyValue('--vivid') + ')';
};
const perCell = () => Math.max(1, Math.ceil((to - from) / (COLUMNS * ROWS)));
const firstRun = (frame) => {
  let low = 0, high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (runs[middle][0] + runs[middle][1] <= frame) low = middle + 1; else high = middle;
  }
  return low;
};
function draw() {
  const per = perCell();
  canvas.width = COLUMNS * CELL;
  canvas.height = ROWS * CELL;
  const context = canvas.getContext('2d');
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--free');
  const shown = Math.min(COLUMNS * ROWS, Math.ceil((frames - from) / per));
  for (let i = 0; i < shown; i++)
    context.fillRect((i % COLUMNS) * CELL, Math.floor(i / COLUMNS) * CELL, CELL - 1, CELL - 1);
  cells = [];
  for (let i = firstRun(from); i < runs.length; i++) {
    const [first, count, owner] = runs[i];
    const begin = Math.max(0, Math.floor((first - from) / per));
    const end = Math.min(shown, Math.ceil((first + count - from) / per));
    if (begin >= shown) break;
    // What is preserved is never hidden by what is not.
    for (let at = begin; at < end; at++) if (cells[at] === undefined || owner > -2) cells[at] = owner;
  }
  for (let i = 0; i < shown; i++) {
    if (cells[i] === undefined) continue;
    context.fillStyle = colourOf(cells[i]);
    context.fillRect((i % COLUMNS) * CELL, Math.floor(i / COLUMNS) * CELL, CELL - 1, CELL - 1);
  }
  where.textContent = hex(from * page) + ' to ' + hex(Math.min(frames, to) * page) + ', ' + size(per * page) + ' a square';
}
function show(nextFrom, span) {
  const least = Math.min(frames, COLUMNS);
  const wide = Math.min(frames, Math.max(least, Math.round(span)));
  from = Math.max(0, Math.min(frames - wide, Math.round(nextFrom)));
  to = from + wide;
  draw();
}
function zoom(factor, around) {
  const span = (to - from) * factor;
  show(around - (around - from) * factor, span);
}
const frameAt = (event) => {
  const box = canvas.getBoundingClientRect();
  const column = Math.min(COLUMNS - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * COLUMNS)));
  const row = Math.min(ROWS - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * ROWS)));
  return from + (row * COLUMNS + column) * perCell();
};
function describe(frame) {
  const per = perCell();
  const end = Math.min(frames, frame + per);
  if (frame >= frames) return '';
  const bytes = new Map();
  for (let i = firstRun(frame); i < runs.length && runs[i][0] < end; i++) {
    const part = Math.min(end, runs[i][0] + runs[i][1]) - Math.max(frame, runs[i][0]);
    bytes.set(runs[i][2], (bytes.get(runs[i][2]) ?? 0) + part * page);
  }
  const lines = [...bytes].slice(0, 8).map(([owner, n]) => nameOf(owner) + '  ' + size(n));
  if (bytes.size > 8) lines.push('and ' + (bytes.size - 8) + ' more');
  return hex(frame * page) + ' + ' + size((end - frame) * page) + '\\n' + (lines.join('\\n') || 'free');
}
canvas.addEventListener('wheel', (event) => {
  event.preventDefault();
  zoom(event.deltaY < 0 ? 0.5 : 2, frameAt(event));
}, { passive: false });
let grip;
canvas.addEventListener('pointerdown', (event) => { grip = frameAt(event); });
addEventListener('pointerup', () => { grip = undefined; });
canvas.addEventListener('pointermove', (event) => {
  if (grip !== undefined && event.buttons !== 0) show(from + grip - frameAt(event), to - from);
  tip.textContent = describe(frameAt(event));
});
canvas.addEventListener('pointerleave', () => { tip.textContent = ''; });
canvas.addEventListener('keydown', (event) => {
  const middle = (from + to) / 2, step = (to - from) / 4;
  const keys = {
    '+': () => zoom(0.5, middle), '-': () => zoom(2, middle), 0: () => show(0, frames),
    ArrowLeft: () => show(from - step, to - from), ArrowRight: () => show(from + step, to - from),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
for (const button of document.querySelectorAll('button[data-key]'))
  button.addEventListener('click', () => canvas.dispatchEvent(new KeyboardEvent('keydown', { key: button.dataset.key })));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
draw();
`;
