import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { expect, test } from 'vitest';
import { FORMATS_VARIABLE, ramPath } from './index.ts';

test('a program that is asked tells its formats, and opens no machine', () => {
  const name = `formats-${process.pid}`;
  const answer = `/dev/shm/liveupdate-${name}.json`;
  const program = `
    import { Machine } from './src/index.ts';
    await Machine.open({ name: '${name}', size: '1MiB' });
    console.log('opened');
  `;
  const args = ['--conditions=@liveupdate/source', '--no-warnings', '--input-type=module-typescript', '-e'];
  const { stdout, stderr, status } = spawnSync(process.execPath, [...args, program], {
    cwd: new URL('..', import.meta.url),
    env: { ...process.env, [FORMATS_VARIABLE]: answer },
    encoding: 'utf8',
  });
  try {
    expect([stdout, stderr, status]).toEqual(['', '', 0]);
    expect(JSON.parse(fs.readFileSync(answer, 'utf8'))).toEqual({
      bootPage: 2,
      kho: 'kho-v4',
      luo: 'luo-v5',
      handlers: [{ compatible: 'memfd-v2', alsoReads: ['memfd-v1'], flbs: [] }],
    });
    expect(fs.existsSync(ramPath(name))).toBe(false);
  } finally {
    fs.rmSync(answer, { force: true });
  }
});
