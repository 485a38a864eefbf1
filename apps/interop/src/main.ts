/**
 * What takes longer than a test may: `npm run -s interop -- damage` has a real Linux judge every
 * damaged handover, `race` measures its live update beside ours.
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeBootImage } from '@liveupdate/boot-image';
import { markdownTable } from 'markdown-table';
import { compare, DAMAGES, harm, judgedByLinux, judgedHere, placesOf } from './damage.ts';
import { DIFFERENCES } from './differences.ts';
import { kernelPath, whyNoGuest } from './guest.ts';
import { makeHandover, SMALL } from './made-here.ts';
import { race, raceTable, raceText } from './race.ts';
import { systemd } from './systemd.ts';

const HELP = `npm run -s interop -- damage [word]    every damaged handover (or those whose name has the word), judged by a
                                       real Linux in QEMU and here; 6 minutes
npm run -s interop -- race             a live update of Linux beside one of ours, in one guest; 3 minutes
npm run -s interop -- systemd          a service under the systemd of Debian's unstable, through three kernels;
                                       4 minutes, as root, with mmdebstrap
  --write                              puts the table into its document, the race into results/ too
`;

const root = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** Judges damages; the exit code says whether all differences are known. */
async function damage(word: string, write: boolean): Promise<number> {
  const made = await makeHandover(SMALL);
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-damage-'));
  try {
    const { ram, entry } = made;
    const image = await writeBootImage(folder, { ram, entry, kernel: fs.readFileSync(kernelPath() ?? '') });
    const places = placesOf(made);
    const rows: string[][] = [];
    let wrong = 0;
    for (const each of DAMAGES.filter(({ name }) => name.includes(word))) {
      const undo = harm(image, each, places);
      const { linux, here, isSame } = compare(
        await judgedByLinux(image, made.sessions),
        await judgedHere(image, made),
        made,
      );
      undo();
      const why = DIFFERENCES[each.name];
      if (isSame !== (why === undefined)) wrong += 1;
      const known = isSame ? '' : (why ?? 'NOT EXPLAINED');
      console.log(
        `${isSame ? 'same  ' : 'differ'}  ${each.name}\n        Linux ${linux}; here it ${here}${known && `\n        ${known}`}`,
      );
      rows.push([each.name, linux, here, known]);
    }
    if (write)
      writeTable('docs/damaged-handovers.md', 'damage', [
        ['one wrong word', 'Linux 7.3.4', 'here', 'why they differ'],
        ...rows,
      ]);
    return wrong === 0 ? 0 : 1;
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** Replaces what stands between the markers of that name. */
function writeTable(path: string, name: string, rows: string[][]): void {
  const [begin, end] = [`<!-- ${name}: written by npm run -s interop -->`, `<!-- end of ${name} -->`];
  const text = fs.readFileSync(root(path), 'utf8');
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < 0) throw new Error(`${path} has no ${begin}`);
  fs.writeFileSync(
    root(path),
    `${text.slice(0, from)}${begin}\n\n${markdownTable(rows)}\n\n${text.slice(to)}`,
  );
}

async function main(): Promise<number> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { write: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
  });
  const [command = '', word = ''] = positionals;
  if (values.help || !['damage', 'race', 'systemd'].includes(command)) {
    console.log(HELP);
    return values.help ? 0 : 2;
  }
  const why = whyNoGuest();
  if (why !== undefined) {
    console.error(`interop: ${why}`);
    return 1;
  }
  if (command === 'damage') return damage(word, values.write);
  if (command === 'systemd') return systemd();
  const raced = await race();
  const rows = raceTable(raced);
  console.log(markdownTable(rows));
  if (values.write) {
    writeTable('apps/bench/README.md', 'race', rows);
    fs.writeFileSync(root('results/race.json'), raceText(raced));
  }
  return 0;
}

process.exitCode = await main();
