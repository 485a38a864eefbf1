/**
 * The core packages in a browser: each of them bundles for one, and a whole handover runs in a page
 * of headless Chromium. Everything is taken from where the packages are installed, tarballs and
 * all.
 */

import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundle } from './bundle.ts';
import { command, HANGS } from './command.ts';
import { home } from './install.ts';
import { single, sum, type Report } from './report.ts';
import { pack } from './tarballs.ts';
import { isCore, workspace } from './workspace.ts';

/** What Debian, and others, call it. */
const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const HOW_TO = 'there is no Chromium here: apt-get install -y --no-install-recommends chromium';

/** The package whose folder has all core packages in it. */
const TOP = '@liveupdate/memfd-handler';

/**
 * Runs the page's work, and leaves what came of it in the document: what it returned, or threw,
 * with a word before it.
 */
const ENTRY = `
import { handover } from './browser-page.ts';
document.title = await handover().then((said) => 'done: ' + said, (error) => 'failed: ' + error.stack);
`;

export async function browser(): Promise<Report> {
  const folder = await pack();
  const reports: Report[] = [];
  for (const each of workspace().filter(isCore)) {
    const entry = join(home(folder, each), 'bundle.js');
    writeFileSync(entry, `export * from '${each.name}';\n`);
    reports.push(
      single(
        `${each.name}: bundles for a browser`,
        await bundle(entry, 'browser').then(
          () => ({ ok: true, output: '' }),
          (error: unknown) => ({ ok: false, output: String(error) }),
        ),
      ),
    );
  }
  return sum([...reports, await page(folder)]);
}

async function page(folder: string): Promise<Report> {
  const name = 'a handover in a page of headless Chromium';
  const chromium = await findChromium();
  if (chromium === undefined) return { passed: 0, failed: [], skipped: [{ name, reason: HOW_TO }] };
  const top = workspace().find((each) => each.name === TOP);
  if (!top) throw new Error(`there is no package ${TOP}`);
  const cwd = home(folder, top);
  const entry = join(cwd, 'browser-entry.ts');
  copyFileSync(join(import.meta.dirname, 'browser-page.ts'), join(cwd, 'browser-page.ts'));
  writeFileSync(entry, ENTRY);
  const ended = await dump(chromium, await bundle(entry, 'browser'));
  const said = /<title>done: (.*?)<\/title>/s.exec(ended.stdout)?.[1];
  const report = single(name, { ...ended, ok: said !== undefined });
  return { ...report, notes: said === undefined ? [] : [`in a page: ${said}`] };
}

async function findChromium(): Promise<string | undefined> {
  for (const name of NAMES) if ((await command(name, ['--version'])).ok) return name;
  return undefined;
}

/** Shows a script in a page of our own server, and gives the document as it is in the end. */
async function dump(chromium: string, script: string) {
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(`<!doctype html><title>at work</title><script type="module">${script}</script>`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const profile = mkdtempSync(join(tmpdir(), 'liveupdate-chromium-'));
  try {
    const args = [
      '--headless',
      '--no-sandbox', // root has none, and the page is ours
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--user-data-dir=${profile}`,
      '--dump-dom',
      `http://127.0.0.1:${port}/`,
    ];
    return await command(chromium, args, { timeout: HANGS });
  } finally {
    server.close();
    server.closeAllConnections();
    rmSync(profile, { recursive: true, force: true });
  }
}
