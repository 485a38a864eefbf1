/** `liveupdate doctor`: what this host offers, a line per check, and what to do about the rest. */
import { styleText } from 'node:util';
import { formatSize } from '@liveupdate/base';
import { hostFacts, MappedRam, viewSpace } from '@liveupdate/linux';
import { HUGE_PAGE } from '@liveupdate/mm';
import { checkHost, type CheckStatus, type Report, type Tried } from './doctor-checks.ts';
import { printable, printJson } from './output.ts';

const STYLES = { ok: 'green', note: 'yellow', missing: 'red' } as const;

/**
 * Maps a huge page's worth of memory, asks for a huge page, and lets go: whether koffi loads and
 * the kernel agrees.
 */
function tryMapping(): Tried {
  const viewMappings = Math.max(0, viewSpace().mostMappings);
  try {
    using ram = MappedRam.anonymous({ name: 'liveupdate-doctor', size: HUGE_PAGE });
    return { mappingFailure: undefined, hugePage: ram.system.populateHuge(0), viewMappings };
  } catch (error) {
    const mappingFailure = error instanceof Error ? error.message : String(error);
    return { mappingFailure, hugePage: false, viewMappings };
  }
}

function label(status: CheckStatus, colour: boolean): string {
  const text = status.padEnd(7);
  return colour ? styleText(STYLES[status], text, { validateStream: false }) : text;
}

/** The report as lines for people. */
export function reportText({ checks, canRun, largestDemo }: Report, colour: boolean): string {
  const lines: string[] = [];
  for (const { status, finding, advice } of checks) {
    lines.push(`${label(status, colour)}  ${printable(finding)}`);
    if (advice !== '') lines.push(`         → ${printable(advice)}`);
  }
  lines.push(
    '',
    canRun ? 'Live updates can run here.' : 'Live updates cannot run here: see what is missing.',
  );
  if (largestDemo > 0)
    lines.push(
      `The largest demo that fits: liveupdate demo --size ${largestDemo / 2 ** 20}MiB (${formatSize(largestDemo)})`,
    );
  return `${lines.join('\n')}\n`;
}

/** Prints the report. Returns the exit code: 0 where live updates can run. */
export function runDoctor({ json }: { json: boolean }): number {
  const facts = hostFacts();
  const report = checkHost(facts, tryMapping());
  const colour = process.stdout.isTTY && (process.env.NO_COLOR ?? '') === '';
  if (json) printJson({ ...report, facts });
  else process.stdout.write(reportText(report, colour));
  return report.canRun ? 0 : 1;
}
