import * as fs from 'node:fs';
import { expect, it } from 'vitest';
import { README, TRANSCRIPT, withTranscript } from './demo-transcript.ts';

it('the README shows the transcript that the command wrote', () => {
  const readme = fs.readFileSync(README, 'utf8');
  expect(withTranscript(readme, fs.readFileSync(TRANSCRIPT, 'utf8'))).toBe(readme);
});
