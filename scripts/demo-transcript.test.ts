import * as fs from 'node:fs';
import { expect, it } from 'vitest';
import { DEMOS, transcriptOf, withTranscript } from './demo-transcript.ts';

it.each(Object.entries(DEMOS))('its page shows the transcript that the command wrote: %s', (demo, path) => {
  const page = fs.readFileSync(path, 'utf8');
  expect(withTranscript(page, demo, fs.readFileSync(transcriptOf(demo), 'utf8'))).toBe(page);
});
