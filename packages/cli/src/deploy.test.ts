/** What docs/deploy.md says beside systemd (see systemd.test.ts), done as it stands there. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { liveupdateCommand } from './test-cli.ts';
import { ask, COUNTER, FLAGS, FOLDER, PATIENT, Running, TestService } from './test-running.ts';

const PAGE = fs.readFileSync(new URL('../../../docs/deploy.md', import.meta.url), 'utf8');

/** The code of a kind below a heading; all blocks one after the other. */
function below(heading: string, kind: string): string {
  const section = PAGE.split(/^## /m).find((text) => text.startsWith(heading)) ?? '';
  return [...section.matchAll(new RegExp(`\`\`\`${kind}\\n([^]*?)\`\`\``, 'g'))]
    .map(([, code]) => code)
    .join('');
}

let service: TestService;
/** Stands for /srv/counter. */
let folder: string;
let path: string;

beforeEach(() => {
  service = new TestService();
  folder = `${FOLDER}${service.name}`;
  fs.mkdirSync(join(folder, 'bin'), { recursive: true });
  // `liveupdate` and `node` as they are called there.
  const command = (words: readonly string[]): string =>
    `#!/bin/sh\nexec ${words.map((word) => `'${word}'`).join(' ')} "$@"\n`;
  const [file, ...args] = liveupdateCommand();
  fs.writeFileSync(join(folder, 'bin/liveupdate'), command([file, ...args]), { mode: 0o755 });
  fs.writeFileSync(join(folder, 'bin/node'), command([process.execPath, ...FLAGS]), { mode: 0o755 });
  path = `${folder}/bin:${process.env['PATH'] ?? ''}`;
});

afterEach(async () => {
  await service[Symbol.asyncDispose]();
  fs.rmSync(folder, { recursive: true });
});

/** The service, which calls itself as the page does by another name of its own. */
function app(code = COUNTER): string {
  return code.replace('process.argv[2]', JSON.stringify(service.name));
}

function shell(script: string): { status: number | null; stdout: string; stderr: string } {
  const here = script.replaceAll('/srv/counter', folder).replaceAll(' counter', ` ${service.name}`);
  return spawnSync('sh', ['-ec', here], {
    encoding: 'utf8',
    cwd: folder,
    env: { ...process.env, PATH: path },
  });
}

/** Starts the words that the page has behind `liveupdate`. */
async function start(words: readonly string[]): Promise<string> {
  const [run, ...more] = words;
  service.running = new Running(
    ['sh', '-c', 'cd "$0" && exec liveupdate "$@"', folder, run, ...PATIENT, ...more],
    { PATH: path },
  );
  return service.running.url();
}

test('releases behind a symbolic link', async () => {
  for (const [release, text] of [
    [41, 'old'],
    [42, 'new'],
  ] as const) {
    fs.mkdirSync(join(folder, `releases/${release}`), { recursive: true });
    fs.writeFileSync(
      join(folder, `releases/${release}/app.mjs`),
      app().replace('response.end(`', `response.end(\`${text} `),
    );
  }
  fs.symlinkSync(join(folder, 'releases/41'), join(folder, 'current'));
  const url = await start(['run', '--', 'node', join(folder, 'current/app.mjs')]);
  expect(await ask(url)).toBe('old 1 1');
  expect(shell(below('Releases', 'sh'))).toMatchObject({ status: 0, stderr: '' });
  expect(await ask(url)).toBe('new 2 2');
});

test('environment files', async () => {
  fs.writeFileSync(
    join(folder, 'app.mjs'),
    app().replace('response.end(`', 'response.end(`${process.env.GREETING} '),
  );
  fs.writeFileSync(join(folder, 'env'), 'GREETING=hello\n');
  const [, line] = /`liveupdate (run [^`]*env[^`]*)`/.exec(PAGE)!;
  const words = line.replaceAll('/srv/counter', folder).replace('app.js', 'app.mjs').split(' ');
  const url = await start(words);
  expect(await ask(url)).toBe('hello 1 1');
  fs.writeFileSync(join(folder, 'env'), 'GREETING=goodbye\n');
  expect(shell('liveupdate upgrade counter')).toMatchObject({ status: 0 });
  expect(await ask(url)).toBe('goodbye 2 2');
});

test('a new version of liveupdate itself', async () => {
  fs.writeFileSync(join(folder, 'app.mjs'), app());
  const url = await start(['run', '--', 'node', 'app.mjs']);
  expect(await ask(url)).toBe('1 1');
  const [install, ...upgrades] = below('A new version', 'sh').trim().split('\n');
  expect(install).toMatch(/^npm install @liveupdate/); // what it installs is here
  expect(shell(upgrades.join('\n'))).toMatchObject({ status: 0, stderr: '' });
  expect(await ask(url)).toBe('2 2');
});

test('pm2 starts what stands there', async () => {
  const module = { exports: {} as { apps: { script: string; args: string; exec_mode: string }[] } };
  runInNewContext(below('pm2', 'js'), { module });
  const [{ script, args, exec_mode: mode }] = module.exports.apps;
  expect([script, mode]).toEqual(['node_modules/.bin/liveupdate', 'fork']);
  fs.writeFileSync(join(folder, 'app.mjs'), app());
  const words = args.replace('counter', service.name).replace('app.js', 'app.mjs').split(' ');
  expect(await ask(await start(words))).toBe('1 1');
});

test('Docker starts what stands there (the check `containers` does it in one)', async () => {
  const words = JSON.parse(/^CMD (.*)$/m.exec(below('Docker', 'dockerfile'))?.[1] ?? '[]') as string[];
  expect(words.slice(0, 2)).toEqual(['node', 'node_modules/@liveupdate/cli/dist/main.js']);
  fs.mkdirSync(join(folder, 'current'));
  fs.writeFileSync(join(folder, 'current/app.mjs'), app());
  const ours = words
    .slice(2)
    .map((word) => word.replace('counter', service.name).replace('app.js', 'app.mjs'));
  expect(await ask(await start(ours))).toBe('1 1');
  const [, upgrade] = /^docker exec counter npx (.*)$/m.exec(below('Docker', 'sh')) ?? ['', 'false'];
  expect(shell(upgrade)).toMatchObject({ status: 0 });
});
