/**
 * Changes of order and of care that no test must let pass: each is made to the source as it is
 * loaded, and the tests named beside it must fail.
 */
import { command } from './command.ts';
import type { Report } from './report.ts';
import { MUTANT, MUTANTS } from '../stores/mutants.ts';

/** Runs each mutant. The report counts those that a test found. */
export async function mutants(): Promise<Report> {
  const report: Report = { passed: 0, failed: [], skipped: [] };
  for (const [name, { tests }] of Object.entries(MUTANTS)) {
    const { ok, output } = await command('vitest', ['run', '--bail=1', '--reporter=dot', ...tests], {
      env: { [MUTANT]: name, LIVEUPDATE_QUICK: '1', LIVEUPDATE_SEED: '1' },
    });
    const isLoaded = !output.includes('No test files found') && !output.includes('MUTANT NOT APPLIED');
    if (!ok && isLoaded) report.passed += 1;
    else report.failed.push({ name, output: isLoaded ? `no test fails: ${tests.join(' ')}` : output });
  }
  return report;
}
