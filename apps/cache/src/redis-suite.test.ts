/** Those of Redis' own tests that cover the commands of this cache, in their own words. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { beforeEach, expect, test } from 'vitest';
import { FILES, SKIPS, TAGS } from './redis-suite-skips.ts';
import { redisTests } from './test-redis-source.ts';
import { TestServer, whyNo } from './test-server.ts';

const noTcl = whyNo('tclsh');
const source = noTcl === undefined ? redisTests() : { why: noTcl };
const folder = 'folder' in source ? source.folder : '';

beforeEach((context) => {
  if ('why' in source) context.skip(source.why);
});

interface Outcome {
  readonly passed: number;
  readonly failed: readonly string[];
  readonly text: string;
}

async function runSuite(file: string, port: number): Promise<Outcome> {
  const tags = Object.keys(TAGS).map((tag) => `-${tag}`);
  const skips = SKIPS.flatMap(({ tests }) => tests.flatMap((name) => ['--skiptest', name]));
  const where = ['--host', '127.0.0.1', '--port', String(port), '--singledb'];
  const args = [
    'tests/test_helper.tcl',
    ...where,
    '--single',
    file,
    '--durable',
    '--tags',
    tags.join(' '),
    ...skips,
  ];
  const child = spawn('tclsh', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (some: Buffer) => (text += some.toString()));
  await once(child, 'close');
  text = stripVTControlCharacters(text);
  return {
    passed: text.match(/^\[ok\]/gm)?.length ?? 0,
    failed: [...text.matchAll(/^\[(?:err|exception)\]: (.*)$/gm)].map(([, name]) => name),
    text,
  };
}

/** Tests that pass at least: fewer, and something was skipped that should not be. */
const LEAST: Readonly<Record<(typeof FILES)[number], number>> = {
  'unit/type/string': 60,
  'unit/type/incr': 20,
  'unit/expire': 55,
  'unit/keyspace': 30,
  'unit/scan': 5,
  'unit/multi': 20,
  'unit/other': 9,
  'unit/protocol': 15,
  'unit/quit': 3,
};

test.each(FILES)('%s', async (file) => {
  await using server = await TestServer.start('--size', '256MiB');
  const { passed, failed, text } = await runSuite(file, server.port);
  expect(failed, text.slice(-5000)).toEqual([]);
  expect(passed).toBeGreaterThanOrEqual(LEAST[file]);
});

/** Those that take no note of time: an upgrade takes some. */
const TIMELESS = ['unit/type/string', 'unit/type/incr', 'unit/scan', 'unit/multi', 'unit/other'] as const;

test.each(TIMELESS)('%s, upgraded all the time', async (file) => {
  await using server = await TestServer.start('--size', '256MiB');
  const over = new AbortController();
  const upgrading = (async () => {
    while (!over.signal.aborted) {
      await server.upgrade();
      await delay(50);
    }
  })();
  const { passed, failed, text } = await runSuite(file, server.port);
  over.abort();
  await upgrading;
  expect(failed, text.slice(-5000)).toEqual([]);
  expect(passed).toBeGreaterThanOrEqual(LEAST[file]);
  expect((await server.status()).upgrades).toBeGreaterThan(0);
});
