/**
 * What a handler does wrong, in words: which handler, which of its callbacks, and the rule that it
 * breaks.
 */
import { KernelError } from '@liveupdate/base';

/** The callbacks of a handler: those that do something, and those that only answer. */
export type CallbackName =
  | 'canPreserve'
  | 'getId'
  | 'preserve'
  | 'unpreserve'
  | 'freeze'
  | 'unfreeze'
  | 'retrieve'
  | 'canFinish'
  | 'finish';

export const CALLBACKS: readonly CallbackName[] = [
  'canPreserve',
  'getId',
  'preserve',
  'unpreserve',
  'freeze',
  'unfreeze',
  'retrieve',
  'canFinish',
  'finish',
];

/**
 * A test of the suite failed. The message is `handler 'counter-v1': unpreserve() leaves 1 page
 * preserved at 0x5000 ...`.
 */
export class HandlerFault extends Error {
  readonly compatible: string;
  readonly callback: CallbackName;
  readonly rule: string;

  constructor(compatible: string, callback: CallbackName, rule: string, options?: { cause?: unknown }) {
    super(`handler '${compatible}': ${callback}() ${rule}`, options);
    this.name = 'HandlerFault';
    this.compatible = compatible;
    this.callback = callback;
    this.rule = rule;
  }
}

/** What was thrown, for a message. */
export function textOf(error: unknown): string {
  return error instanceof Error && !(error instanceof KernelError)
    ? `${error.name}: ${error.message}`
    : String(error).replace(/^KernelError: /, '');
}
