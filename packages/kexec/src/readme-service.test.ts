/**
 * The service that the project's README shows, as it stands there: run, asked, upgraded by its
 * signal, asked again.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { removeRam, testName } from './test-process.ts';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const README = fileURLToPath(new URL('../../../README.md', import.meta.url));

function serviceCode(): string {
  const code = /<!-- example: file service\.ts -->\s*```ts\n([^`]*(?:`(?!``)[^`]*)*)```/.exec(
    fs.readFileSync(README, 'utf8'),
  )?.[1];
  if (code === undefined) throw new Error('the README has no service.ts');
  return code;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Asks until the service answers: it needs a moment to start, and to be replaced. */
async function ask(child: ChildProcess, port: number, generation?: number): Promise<string> {
  while (child.exitCode === null && child.signalCode === null) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
      const text = await response.text();
      if (generation === undefined || text.includes(`generation ${generation},`)) return text;
    } catch {
      // not up yet
    }
    await delay(20);
  }
  throw new Error(`the service ended: ${String(child.exitCode ?? child.signalCode)}`);
}

describe('the service in the README', () => {
  it('keeps counting through upgrades, with the same pid, and when it is stopped and started, also in vain', async () => {
    const name = testName();
    const path = `${PACKAGE}${name}.tmp.ts`;
    fs.writeFileSync(path, serviceCode().replace("'counter'", `'${name}'`));
    const port = await freePort();
    const start = (): ChildProcess => {
      const child = spawn(process.execPath, ['--conditions=@liveupdate/source', '--no-warnings', path], {
        cwd: PACKAGE,
        env: { ...process.env, PORT: String(port) },
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      onTestFinished(() => {
        child.kill('SIGKILL');
      });
      return child;
    };
    onTestFinished(() => {
      fs.rmSync(path, { force: true });
      removeRam(name);
    });
    const began = performance.now();
    const child = start();
    await ask(child, port, 1);
    const took = performance.now() - began;
    let last = 0;
    for (let generation = 1; generation <= 4; generation++) {
      const answer = await ask(child, port, generation);
      const count = Number(/^request (\d+), /.exec(answer)?.[1]);
      expect(count).toBeGreaterThan(last);
      expect(answer).toContain(`pid ${child.pid ?? 0}`);
      last = count;
      child.kill('SIGUSR2');
    }
    const again = await ask(child, port, 5);
    last = Number(/^request (\d+), /.exec(again)?.[1]);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    const other = createServer().listen(port, () => undefined);
    await once(other, 'listening');
    expect(await once(start(), 'exit')).toEqual([1, null]); // generation 6: it cannot serve, and hands over
    other.close();
    // A second signal that comes before the new generation has its handlers ends the process, and
    // not the memory.
    for (const share of [0.3, 0.6, 0.75, 0.9, 1]) {
      const stopped = start();
      const ended = once(stopped, 'exit');
      await delay(share * took); // at any moment of the start, however long it takes here
      stopped.kill(share === 0.75 ? 'SIGINT' : 'SIGTERM');
      await ended;
    }
    const fresh = await ask(start(), port);
    expect(Number(/^request (\d+), /.exec(fresh)?.[1])).toBe(last + 1);
  });
});
