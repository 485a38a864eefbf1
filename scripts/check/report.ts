/** What a check says when it is done. */

export interface Report {
  passed: number;
  failed: { name: string; output: string }[];
  skipped: { name: string; reason: string }[];
  /** Worth a line even when all is well. */
  notes?: string[];
}

/** A check that is one command: one passed, or one failed with all that the command said. */
export function single(name: string, { ok, output }: { ok: boolean; output: string }): Report {
  return ok ? { passed: 1, failed: [], skipped: [] } : { passed: 0, failed: [{ name, output }], skipped: [] };
}

/** A check, or a part of one, that was not run. */
export function skipped(name: string, reason: string): Report {
  return { passed: 0, failed: [], skipped: [{ name, reason }] };
}

export function sum(reports: Report[]): Report {
  return {
    passed: reports.reduce((total, { passed }) => total + passed, 0),
    failed: reports.flatMap(({ failed }) => failed),
    skipped: reports.flatMap(({ skipped }) => skipped),
    notes: reports.flatMap(({ notes }) => notes ?? []),
  };
}
