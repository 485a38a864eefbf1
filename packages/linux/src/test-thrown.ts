/** For tests: what a call that should fail throws. */
import { codeOf } from '@liveupdate/base';

/** The code of what a call throws. */
export function codeOfThrown(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return codeOf(error);
  }
  return 'nothing thrown';
}
