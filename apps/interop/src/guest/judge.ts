/** Tries every step on a handover that may be damaged, and tells the host what each gave. */
import * as fs from 'node:fs';
import { KernelError } from '@liveupdate/base';
import { openDevice, type DeviceClient } from '@liveupdate/device';
import { expectedSessions, lookAt, type KeptFile } from './kept.ts';
import { report, SHARE } from './report.ts';

/** What became of a handover. Words are `ok` or the code of an error. */
export interface Judgement {
  /** `handover`, `cold`, `panic`, `hang`, or why it was refused. */
  boot: string;
  /** What the kernel said when it gave up. */
  panic?: string | undefined;
  /** Of the device, where that failed. */
  open?: string;
  sessions: Record<string, JudgedSession>;
}

interface JudgedSession {
  retrieve: string;
  finish?: string;
  files: Record<string, KeptFile | string>;
}

function codeOf(error: unknown): string {
  if (error instanceof KernelError) return error.code;
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

function judge(device: DeviceClient): Judgement['sessions'] {
  const sessions: Judgement['sessions'] = {};
  for (const { name, files } of expectedSessions()) {
    const found: JudgedSession = { retrieve: 'ok', files: {} };
    sessions[name] = found;
    try {
      const session = device.retrieveSession(name);
      for (const { token } of files) {
        try {
          found.files[token] = lookAt(session.retrieveFd(BigInt(token)), token);
        } catch (error) {
          found.files[token] = codeOf(error);
        }
      }
      try {
        session.finish();
        found.finish = 'ok';
      } catch (error) {
        found.finish = codeOf(error);
      }
    } catch (error) {
      found.retrieve = codeOf(error);
    }
  }
  return sessions;
}

function judged(): Judgement {
  try {
    using device = openDevice();
    return { boot: 'handover', sessions: judge(device) };
  } catch (error) {
    return { boot: 'handover', open: codeOf(error), sessions: {} };
  }
}

fs.writeFileSync(`${SHARE}/judgement.json`, JSON.stringify(judged()));
report('judged');
