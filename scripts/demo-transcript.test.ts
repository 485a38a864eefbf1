import * as fs from 'node:fs';
import { expect, it } from 'vitest';
import { DEMOS, README, transcriptOf, withTranscript } from './demo-transcript.ts';

it.each(DEMOS)('the README shows the transcript that the command wrote: %s', (demo) => {
  const readme = fs.readFileSync(README, 'utf8');
  expect(withTranscript(readme, demo, fs.readFileSync(transcriptOf(demo), 'utf8'))).toBe(readme);
});
