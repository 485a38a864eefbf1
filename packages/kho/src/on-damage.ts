/** For readers that go on beside damage: what they tell of it. */
import type { KernelError } from '@liveupdate/base';

/**
 * Is told of damage, and what is damaged is left out. Only tools go on then: a boot stops at the
 * first.
 */
export type OnDamage = (damage: KernelError) => void;
