/**
 * What a handler, or an FLB of it, does wrong, in words: whose callback, and the rule that it
 * breaks.
 */
import { KernelError } from '@liveupdate/base';

/** Callbacks of handlers and of FLBs: those that do something, and those that only answer. */
export type CallbackName =
  | 'canPreserve'
  | 'getId'
  | 'preserve'
  | 'preserveAll'
  | 'unpreserve'
  | 'freeze'
  | 'checkpoint'
  | 'unfreeze'
  | 'retrieve'
  | 'canFinish'
  | 'finish';

export const CALLBACKS: readonly CallbackName[] = [
  'canPreserve',
  'getId',
  'preserve',
  'preserveAll',
  'unpreserve',
  'freeze',
  'checkpoint',
  'unfreeze',
  'retrieve',
  'canFinish',
  'finish',
];

/** Those that a test needs whose files are preserved one by one, and taken back in this kernel. */
export const HERE: readonly CallbackName[] = ['canPreserve', 'getId', 'preserve', 'unpreserve'];

/** Those that a test needs whose files are preserved one by one, and handed over. */
export const THERE: readonly CallbackName[] = [
  'canPreserve',
  'getId',
  'preserve',
  'freeze',
  'retrieve',
  'canFinish',
  'finish',
];

/** An FLB has no others. */
export const FLB_CALLBACKS: readonly CallbackName[] = ['preserve', 'unpreserve', 'retrieve', 'finish'];

/** Whose callback it is. */
export interface Owner {
  readonly kind: 'handler' | 'FLB';
  readonly compatible: string;
}

/** A callback, and whose it is. */
export interface OwnedCallback extends Owner {
  readonly callback: CallbackName;
}

/**
 * A test of the suite failed. The message is `handler 'counter-v1': unpreserve() leaves 1 page
 * preserved at 0x5000 ...`, or `FLB 'roll-v1': ...`.
 */
export class HandlerFault extends Error {
  /** Whether the handler is at fault, or an FLB that it names. */
  readonly kind: 'handler' | 'FLB';
  /** The compatible string of either. */
  readonly compatible: string;
  readonly callback: CallbackName;
  readonly rule: string;

  constructor({ kind, compatible, callback }: OwnedCallback, rule: string, options?: { cause?: unknown }) {
    super(`${kind} '${compatible}': ${callback}() ${rule}`, options);
    this.name = 'HandlerFault';
    this.kind = kind;
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
